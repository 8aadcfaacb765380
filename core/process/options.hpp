#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace minions::core {

/// How processes of instances run.
struct ProcessOptions {
    std::filesystem::path state_dir;
    std::filesystem::path run_dir;
    std::filesystem::path shim;  ///< the program minions-shim
    /// Users of the instances of a daemon that is root: each has the one that its slot adds to the first.
    /// They share one group, whose number is the first user's.
    std::int64_t uid_first = 1'900'000'000;
    std::int64_t uid_count = 65536;
    std::size_t output_bytes = std::size_t{1} << 20U;  ///< of each file with a process's output
};

}  // namespace minions::core
