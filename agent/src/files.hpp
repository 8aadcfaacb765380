#pragma once

#include "session.hpp"

#include <optional>
#include <string>

namespace minions::agent {

/// Sends `path` and what is below it as tar, named from its last part on. Throws Refusal, std::system_error.
std::unique_ptr<Task> begin_read_files(Session& session, std::uint32_t stream, const Fields& fields);
/// Unpacks a tar into the directory `path`. Throws Refusal, std::system_error.
std::unique_ptr<Task> begin_write_files(Session& session, std::uint32_t stream, const Fields& fields);

/// The program's other lives: a transfer runs as a child, which may block on disks as it likes. The exit code
/// is an End; a sentence for a failure goes to standard error.
int run_read_files(const std::string& path);
int run_write_files(const std::string& path);

}  // namespace minions::agent
