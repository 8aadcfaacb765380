#include "shim/records.hpp"

#include <minions/base/files.hpp>

#include <algorithm>
#include <charconv>
#include <type_traits>

namespace minions::shim {
namespace {

std::string line(std::string_view word, const std::string& value) {
    return std::string(word).append(" ").append(value).append("\n");
}
template <class Number>
requires std::is_arithmetic_v<Number> std::string line(std::string_view word, Number value) {
    return line(word, std::to_string(value));
}

/// What follows `word` on its line. A line without its end does not count.
std::optional<std::string_view> value_of(std::string_view text, std::string_view word) {
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        if (end == std::string_view::npos) return std::nullopt;
        const std::string_view one = text.substr(0, end);
        text.remove_prefix(end + 1);
        if (one.size() > word.size() && one.starts_with(word) && one[word.size()] == ' ')
            return one.substr(word.size() + 1);
    }
    return std::nullopt;
}

template <class Number>
bool read(std::string_view text, std::string_view word, Number& into) {
    const auto value = value_of(text, word);
    if (!value) return false;
    const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), into);
    return error == std::errc() && end == value->data() + value->size();
}

}  // namespace

std::string text_of(const ProcessRecord& record) {
    return line("pid", record.pid) + line("start_time", record.start_time) +
           line("shim_pid", record.shim_pid) + line("shim_start_time", record.shim_start_time) +
           line("boot", record.boot);
}

std::optional<ProcessRecord> process_record(std::string_view text) {
    ProcessRecord record;
    const auto boot = value_of(text, "boot");
    if (!boot || !read(text, "pid", record.pid) || !read(text, "start_time", record.start_time) ||
        !read(text, "shim_pid", record.shim_pid) || !read(text, "shim_start_time", record.shim_start_time) ||
        record.pid <= 0 || record.shim_pid <= 0)
        return std::nullopt;
    record.boot = *boot;
    return record;
}

std::string text_of(const ExitRecord& record) {
    return line("pid", record.pid) + line("start_time", record.start_time) +
           line("code", record.status.code) + line("signal", record.status.signal);
}

std::optional<ExitRecord> exit_record(std::string_view text) {
    ExitRecord record;
    if (!read(text, "pid", record.pid) || !read(text, "start_time", record.start_time) ||
        !read(text, "code", record.status.code) || !read(text, "signal", record.status.signal))
        return std::nullopt;
    return record;
}

std::string text_of(const Report& report) {
    switch (report.kind) {
        case Report::Kind::running:
            return line("report", "running") + text_of(report.process);
        case Report::Kind::conflict:
            return line("report", "conflict");
        case Report::Kind::failed:
            break;
    }
    std::string message = report.message.substr(0, most_record_bytes / 2);
    std::replace(message.begin(), message.end(), '\n', ' ');
    return line("report", "failed") + line("error", report.error) + line("message", message);
}

std::optional<Report> report(std::string_view text) {
    Report report;
    const auto kind = value_of(text, "report");
    if (kind == "conflict") {
        report.kind = Report::Kind::conflict;
        return report;
    }
    if (kind == "running") {
        const auto process = process_record(text);
        if (!process) return std::nullopt;
        report.kind = Report::Kind::running;
        report.process = *process;
        return report;
    }
    const auto message = value_of(text, "message");
    if (kind != "failed" || !message || !read(text, "error", report.error)) return std::nullopt;
    report.message = *message;
    return report;
}

std::string boot_id() {
    std::string id = read_file("/proc/sys/kernel/random/boot_id", 64);
    while (!id.empty() && id.back() == '\n') id.pop_back();
    return id;
}

}  // namespace minions::shim
