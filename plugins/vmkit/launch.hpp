#pragma once

#include <minions/base/fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/context.hpp>

#include <sys/stat.h>

#include <string>

namespace minions::vmkit {

/// The absolute path of a program that can be run: `name` itself if it has a slash, else looked up in PATH
/// and then in /usr/local/bin. Empty if it is nowhere.
std::string find_program(const std::string& name);

/// What a program prints when it is asked for its version; remembered for as long as its file stays the same.
/// [any thread]
class VersionOutput {
  public:
    struct Answer {
        std::string text;       ///< standard output; empty where it cannot be had
        std::string complaint;  ///< why not; a clause
    };
    Answer ask(const Context& ctx, const std::string& program);

  private:
    struct Known {
        struct stat file {};
        std::string text;
    };
    Sync<Known> known_;
};

/// A Unix socket, mode 0600, on which a VMM that inherits it will accept: whoever connects from now on is
/// served once it runs. Throws Error.
Fd listen_on(const std::string& path);

}  // namespace minions::vmkit
