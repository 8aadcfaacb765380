#pragma once

#include <minions/base/fd.hpp>

#include <string>

namespace minions::vmkit {

/// The absolute path of a program that can be run: `name` itself if it has a slash, else looked up in PATH
/// and then in /usr/local/bin. Empty if it is nowhere.
std::string find_program(const std::string& name);

/// A Unix socket, mode 0600, on which a VMM that inherits it will accept: whoever connects from now on is
/// served once it runs. Throws Error.
Fd listen_on(const std::string& path);

}  // namespace minions::vmkit
