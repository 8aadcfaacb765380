#pragma once

#include <minions/base/spawn.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace minions::shim {

/// The descriptor of the socket (SOCK_SEQPACKET) on which the starter hears how it went.
constexpr int starter_fd = 3;
/// The first of those that are passed on, where the process gets them as 3, 4, ….
constexpr int first_passed_fd = 4;

/// What the starter asks for on the command line; the environment is the process's own.
struct Options {
    std::string directory;
    std::string role;
    std::size_t output_bytes = std::size_t{1} << 20U;
    int descriptors = 0;
    std::optional<Identity> identity;
    std::vector<std::string> argv;
};

/// Reads `--directory=… --role=… [--output-bytes=N] [--descriptors=N] [--identity=UID:GID[:GROUP,…]] --
/// PROGRAM …`. Throws std::invalid_argument with a sentence.
Options read_options(const std::vector<std::string>& arguments);

}  // namespace minions::shim
