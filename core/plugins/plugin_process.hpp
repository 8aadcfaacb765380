#pragma once

#include <optional>

namespace minions::core {

/// The hidden commands that the daemon starts itself with, `plugin-describe` and `plugin-host`. To be called
/// first thing in main(), before anything costs time. Returns the exit code, or nothing for every other
/// command line.
std::optional<int> plugin_process_main(int argc, char** argv);

}  // namespace minions::core
