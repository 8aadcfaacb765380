#pragma once

#include <cstdint>

namespace minions::core {

/// What /proc says of this process; 0 where it does not say.
struct ProcessFigures {
    double cpu_seconds = 0;
    double start_time_seconds = 0;  ///< Unix time
    std::int64_t resident_bytes = 0;
    std::int64_t virtual_bytes = 0;
    std::int64_t open_descriptors = 0;
    std::int64_t max_descriptors = 0;
    std::int64_t threads = 0;
};

ProcessFigures process_figures();

}  // namespace minions::core
