#pragma once

#include <string>
#include <string_view>

/// What engines say when a command could not be started, in words that differ between engines, OCI runtimes
/// and their versions. Pure functions.
namespace minions::docker {

enum class ExecFailure { none, stopped, not_found, not_executable, user, directory, other };

/// Whether bytes may be such a message: then they are kept until the command's record says what they are.
bool looks_like_exec_failure(std::string_view bytes);

/// `none` for a message that is not about starting a command.
ExecFailure classify_exec_failure(std::string_view message);

/// The message without the chain of who reported it to whom.
std::string plain_exec_failure(std::string_view message);

/// A line for standard error that names the command and why it did not start.
std::string exec_failure_line(std::string_view command, ExecFailure what, std::string_view message);

}  // namespace minions::docker
