#pragma once

#include <minions/context.hpp>
#include <minions/types.hpp>

#include <string>

namespace minions::vmkit {

/// Writes what is kept of a process's output, `<directory>/<name>` and the file that it replaced
/// (ProcessHome::directory), to `out`, as LogsSpec says. With `follow` until `over` (-1: never) becomes
/// readable, the reader is gone, or ctx ends.
void read_output(const Context& ctx, const std::string& directory, const std::string& name,
                 const LogsSpec& spec, int over, Fd out);

/// The last lines of it, for an error's text; empty if there are none.
std::string last_lines(const std::string& directory, const std::string& name, std::size_t lines);

}  // namespace minions::vmkit
