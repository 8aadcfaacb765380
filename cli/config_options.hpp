#pragma once

#include "core/config/config.hpp"

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace minions::cli {

/// The options of `serve` and `config` that say what the configuration is.
struct ConfigOptions {
    std::string file;
    std::vector<std::string> bind;
    std::string socket;
    std::string state_dir;
    std::string run_dir;
    std::vector<std::string> plugin_dirs;
    std::vector<std::string> set;
    bool has_socket = false;

    /// Throws UsageError for a --set that is not KEY=VALUE.
    core::ConfigSources sources() const;
};

void add_config_options(CLI::App& command, ConfigOptions& options);

}  // namespace minions::cli
