#include "core/app/log.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

namespace minions::core {
namespace {

/// Whether $JOURNAL_STREAM ("device:inode") names this descriptor, as systemd.exec(5) says to test.
bool is_journal(int fd) {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat status {};
    if (stream == nullptr || ::fstat(fd, &status) != 0) return false;
    return fmt::format("{}:{}", status.st_dev, status.st_ino) == stream;
}

std::string now() {
    const auto time = std::chrono::system_clock::now();
    const auto milliseconds =
        std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count() % 1000;
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(time)),
                       milliseconds);
}

void append_escaped(std::string& out, std::string_view text) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\n') {
            out += "\\n";
        } else if (byte < 0x20 || byte == 0x7f) {
            out += fmt::format("\\x{:02x}", byte);
        } else {
            out += c;
        }
    }
}

void append_fields(std::string& out, const Value& fields) {
    const auto* object = fields.if_object();
    if (object == nullptr) return;
    for (const auto& [name, value] : *object) {
        out += ' ';
        append_escaped(out, name);
        out += '=';
        const auto* text = value.if_string();
        const bool bare =
            text != nullptr && !text->empty() && text->find_first_of(" \"=\\") == std::string::npos;
        append_escaped(out, bare ? *text : to_json(value));
    }
}

}  // namespace

LogFormat log_format_of(std::string_view word, int fd) {
    if (word == "text") return LogFormat::text;
    if (word == "json") return LogFormat::json;
    if (word == "journald") return LogFormat::journald;
    if (is_journal(fd)) return LogFormat::journald;
    return ::isatty(fd) == 1 ? LogFormat::text : LogFormat::json;
}

LogLevel log_level_of(std::string_view word) noexcept {
    for (const auto level : {LogLevel::debug, LogLevel::warning, LogLevel::error}) {
        if (word_of(level) == word) return level;
    }
    return LogLevel::info;
}

std::string log_line(LogFormat format, std::string_view time, LogLevel level, std::string_view message,
                     const Value& fields) {
    if (format == LogFormat::json) {
        Value line = Value::object({{"time", time}, {"level", word_of(level)}, {"message", message}});
        if (const auto* object = fields.if_object()) {
            // A field never hides what every line has.
            for (const auto& [name, value] : *object) {
                line.set(line.find(name) == nullptr ? name : "field_" + name, value);
            }
        }
        return to_json(line);
    }
    // Priorities of syslog(3): debug 7, info 6, warning 4, error 3.
    constexpr int priorities[] = {7, 6, 4, 3};
    std::string line = format == LogFormat::journald
                           ? fmt::format("<{}>", priorities[static_cast<std::size_t>(level)])
                           : fmt::format("{} {:<7} ", time, word_of(level));
    append_escaped(line, message);
    append_fields(line, fields);
    return line;
}

Log::Log(int fd, LogFormat format, LogLevel level) : fd_(fd), format_(format), level_(level) {}

void Log::write(LogLevel level, std::string_view message, const Value& fields) noexcept {
    if (!enabled(level)) return;
    try {
        const auto line = log_line(format_, now(), level, message, fields) + '\n';
        const auto fd = fd_.lock();
        std::string_view rest = line;
        while (!rest.empty()) {
            const auto written = ::write(*fd, rest.data(), rest.size());
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) return;
            rest.remove_prefix(static_cast<std::size_t>(written));
        }
    } catch (...) {  // NOLINT(bugprone-empty-catch): nowhere is left to say it
    }
}

}  // namespace minions::core
