#pragma once

#include "core/config/config.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace minions::core {

/// The directories and sockets that the configuration names, absolute.
struct Paths {
    std::filesystem::path state;
    std::filesystem::path run;
    std::string socket;  ///< of the API; empty for none
    std::vector<std::filesystem::path> plugins;
    std::filesystem::path recipes;  ///< scripts that make images
    std::filesystem::path agent;    ///< the program minions-agent
    std::filesystem::path shim;  ///< the program minions-shim
};

/// Reads them from the configuration. Throws Error{invalid} for a run directory or socket whose path is too
/// long for what has to fit below it (a Unix socket's path has at most 107 bytes).
Paths paths_of(const Config& config);

/// Where plugins are looked for, first to last: lib/minions/runtimes beside the directory of this executable,
/// then `plugin_dirs`.
std::vector<std::filesystem::path> plugin_directories(const Config& config);

/// minions-shim: beside this executable, as in a build tree, or where the installation has it.
std::filesystem::path shim_program();

/// minions-agent, likewise.
std::filesystem::path agent_program();

/// Makes the run directory (0755) and the directory of the socket; the state directory is the store's. Throws
/// Error that names the setting.
void make_run_directories(const Paths& paths);

}  // namespace minions::core
