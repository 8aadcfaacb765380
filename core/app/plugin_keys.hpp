#pragma once

#include "core/config/config.hpp"
#include "core/plugins/loader.hpp"

#include <string>
#include <utility>
#include <vector>

namespace minions::core {

/// Where plugins are looked for and which of them are wanted, as the configuration says.
LoaderOptions loader_options(const Config& config);

/// The keys that a plugin declares. Of a runtime that runs VMs, one that core has too, as `vms.<key>`, has that
/// one's value as its default. Throws Error{invalid} for a type that this version does not know.
std::vector<ConfigKey> config_keys_of(const Config& config, const PluginDescription& plugin);

/// The configuration keys of the plugins that `serve` would load, by the name of the runtime; each is
/// described in a process of its own, none is loaded.
std::vector<std::pair<std::string, std::vector<ConfigKey>>> plugin_keys(const Config& config);

/// Joins those keys to the configuration, as loading the plugins does. Returns what is wrong with them: bad
/// values, keys of runtimes that there are not.
std::vector<std::string> join_plugin_keys(Config& config);

}  // namespace minions::core
