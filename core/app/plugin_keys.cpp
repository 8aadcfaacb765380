#include "core/app/plugin_keys.hpp"

#include "core/app/paths.hpp"

#include <minions/error.hpp>

#include <algorithm>

namespace minions::core {

LoaderOptions loader_options(const Config& config) {
    LoaderOptions options;
    options.directories = plugin_directories(config);
    options.enabled = config.list("plugins.enabled");
    options.required = config.list("plugins.required");
    options.isolated = config.list("plugins.isolated");
    options.default_runtime = config.string("runtimes.default");
    options.describe_timeout = config.duration("plugins.describe_timeout_seconds");
    return options;
}

std::vector<ConfigKey> config_keys_of(const PluginDescription& plugin) {
    std::vector<ConfigKey> keys;
    keys.reserve(plugin.config_keys.size());
    for (const auto& key : plugin.config_keys) keys.push_back(config_key_of(key.as_c()));
    return keys;
}

std::vector<std::pair<std::string, std::vector<ConfigKey>>> plugin_keys(const Config& config) {
    std::vector<std::pair<std::string, std::vector<ConfigKey>>> keys;
    for (const auto& record : find_plugins(loader_options(config))) {
        if (record.refusal || !record.description) continue;
        keys.emplace_back(record.description->name, config_keys_of(*record.description));
    }
    std::sort(keys.begin(), keys.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    return keys;
}

std::vector<std::string> join_plugin_keys(Config& config) {
    std::vector<std::string> problems;
    for (const auto& [runtime, keys] : plugin_keys(config)) {
        try {
            config.configure(runtime, keys);
        } catch (const Error& error) {
            problems.emplace_back(error.what());
        }
    }
    for (auto& warning : config.unclaimed()) problems.push_back(std::move(warning));
    return problems;
}

}  // namespace minions::core
