#pragma once

#include "cli/session.hpp"

#include <string>

namespace minions::cli {

/// How a wait shows what goes on.
enum class ProgressShown {
    on_terminal,  ///< a bar on stderr where that is a terminal, else nothing
    never,
};

/// Waits for the end of the operation of that id, and returns its document.
Value wait_for_end(Session& session, const std::string& operation, ProgressShown shown);

/// As wait_for_end() of what the daemon has accepted (the document of its 202), but returns its result, and
/// throws its error.
Value wait_for_operation(Session& session, const Value& accepted, ProgressShown shown);

/// One line for a person: "building  [######----]  3/5  unpacking the kernel", at most `width` columns.
std::string progress_line(const Value& operation, std::size_t width);

}  // namespace minions::cli
