#pragma once

#include <minions/base/spawn.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// What a shim and the daemon know of each other: files in the directory of the instance, and what is said
/// while a process starts. Each is lines of a word and a value.
namespace minions::shim {

/// `<role>.process`: whom it is about. A pid alone identifies nothing.
struct ProcessRecord {
    pid_t pid = -1;
    std::uint64_t start_time = 0;  ///< 0: it had ended before anybody could look
    pid_t shim_pid = -1;
    std::uint64_t shim_start_time = 0;
    std::string boot;  ///< boot_id() when it started; on another boot of the host nothing of it lives

    friend bool operator==(const ProcessRecord&, const ProcessRecord&) = default;
};

/// `<role>.exit`: how it ended.
struct ExitRecord {
    pid_t pid = -1;
    std::uint64_t start_time = 0;
    ExitStatus status;
};

/// What a shim tells its starter, in one message.
struct Report {
    enum class Kind {
        running,   ///< and ends it again unless the starter answers with a byte
        conflict,  ///< the lock of the role is held: such a process lives
        failed,    ///< `error` and `message` say why; nothing is left
    };
    Kind kind = Kind::failed;
    ProcessRecord process;
    int error = 0;
    std::string message;
};

/// The longest of these texts.
constexpr std::size_t most_record_bytes = 8192;

std::string text_of(const ProcessRecord& record);
std::string text_of(const ExitRecord& record);
std::string text_of(const Report& report);
/// Nothing for a text that is not whole, as a crash of the host can leave it.
std::optional<ProcessRecord> process_record(std::string_view text);
std::optional<ExitRecord> exit_record(std::string_view text);
std::optional<Report> report(std::string_view text);

/// Identifies this boot of the host. Throws std::system_error.
std::string boot_id();

}  // namespace minions::shim
