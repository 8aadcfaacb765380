#pragma once

#include <minions/base/sync.hpp>
#include <minions/context.hpp>
#include <minions/value.hpp>

#include <atomic>
#include <optional>
#include <string>
#include <string_view>

namespace minions::core {

enum class LogFormat {
    text,      ///< "2026-02-18T10:00:00.123Z info  message key=value", for people
    json,      ///< one object a line: time, level, message and the fields
    journald,  ///< "<6>message key=value": the journal reads the priority and has a clock of its own
};

/// The format of the word `log.format` for a descriptor; "auto" is text on a terminal, journald where the
/// descriptor is the journal's, else json.
LogFormat log_format_of(std::string_view word, int fd);

/// One line without its newline. Control characters are escaped: a message cannot forge a second line.
std::string log_line(LogFormat format, std::string_view time, LogLevel level, std::string_view message,
                     const Value& fields);

/// The daemon's log: one write per line, so that lines of several threads and processes do not mix. Secrets
/// do not belong in it. [any thread]
class Log {
  public:
    /// `fd` is borrowed.
    Log(int fd, LogFormat format, LogLevel level);

    void set_level(LogLevel level) noexcept { level_ = level; }
    bool enabled(LogLevel level) const noexcept { return level >= level_.load(std::memory_order_relaxed); }

    /// `fields` is an object of further facts. A log that cannot be written is no reason to fail.
    void write(LogLevel level, std::string_view message, const Value& fields = {}) noexcept;

    void debug(std::string_view message, const Value& fields = {}) noexcept {
        write(LogLevel::debug, message, fields);
    }
    void info(std::string_view message, const Value& fields = {}) noexcept {
        write(LogLevel::info, message, fields);
    }
    void warning(std::string_view message, const Value& fields = {}) noexcept {
        write(LogLevel::warning, message, fields);
    }
    void error(std::string_view message, const Value& fields = {}) noexcept {
        write(LogLevel::error, message, fields);
    }

  private:
    const Sync<int> fd_;
    const LogFormat format_;
    std::atomic<LogLevel> level_;
};

/// The level of a word of `log.level`; info for others.
LogLevel log_level_of(std::string_view word) noexcept;

}  // namespace minions::core
