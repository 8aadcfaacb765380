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

std::vector<ConfigKey> config_keys_of(const Config& config, const PluginDescription& plugin) {
    std::vector<ConfigKey> keys;
    keys.reserve(plugin.config_keys.size());
    for (const auto& key : plugin.config_keys) {
        auto& added = keys.emplace_back(config_key_of(key.as_c()));
        if (plugin.kind != RuntimeKind::vm || added.type != KeyType::integer) continue;
        const std::string shared = "vms." + added.name;
        const auto& core = core_schema();
        const bool known = std::any_of(core.begin(), core.end(), [&](const ConfigKey& of_core) {
            return of_core.name == shared && of_core.type == KeyType::integer;
        });
        if (known) added.default_value = std::to_string(config.integer(shared));
    }
    return keys;
}

std::vector<std::pair<std::string, std::vector<ConfigKey>>> plugin_keys(const Config& config) {
    std::vector<std::pair<std::string, std::vector<ConfigKey>>> keys;
    for (const auto& record : find_plugins(loader_options(config))) {
        if (record.refusal || !record.description) continue;
        keys.emplace_back(record.description->name, config_keys_of(config, *record.description));
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
