#include "core/plugins/describe.hpp"
#include "core/plugins/loader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

namespace minions::core {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> files_in(const std::vector<fs::path>& directories) {
    std::vector<std::string> all;
    for (const auto& directory : directories) {
        std::vector<std::string> here;
        std::error_code failed;
        for (const auto& entry : fs::directory_iterator(directory, failed)) {
            if (entry.path().extension() == ".so")
                here.push_back(fs::absolute(entry.path()).lexically_normal());
        }
        std::sort(here.begin(), here.end());
        for (auto& path : here) {
            if (std::find(all.begin(), all.end(), path) == all.end()) all.push_back(std::move(path));
        }
    }
    return all;
}

void inspect(PluginRecord& record, const LoaderOptions& options, const Trusted& trusted) {
    try {
        record.file = check_plugin_file(record.path, trusted);
        record.description = describe_in_child(options.self_executable, options.describe_arguments,
                                               record.file.path, options.describe_timeout);
    } catch (const Refusal& refusal) {
        record.refusal = refusal;
    } catch (...) {
        record.refusal = refusal_of("malformed", current_error());
    }
}

bool names(const std::vector<std::string>& list, const std::string& name) {
    return std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace

std::vector<PluginRecord> find_plugins(const LoaderOptions& options) {
    std::vector<PluginRecord> records;
    for (auto& path : files_in(options.directories))
        records.push_back({.path = std::move(path), .description = {}, .refusal = {}, .file = {}});
    const auto trusted = Trusted::by_this_process();
    {
        std::vector<std::jthread> side_by_side;
        for (auto& record : records) {
            side_by_side.emplace_back([&record, &options, &trusted] { inspect(record, options, trusted); });
        }
    }
    std::map<std::string, std::string> first;
    for (auto& record : records) {
        if (record.refusal) continue;
        const auto& name = record.description->name;
        const auto [found, inserted] = first.emplace(name, record.path);
        if (!inserted) {
            record.refusal = Refusal{
                "duplicate",
                fmt::format("{} provides the runtime '{}' already; remove one of them", found->second, name)};
        } else if (!options.enabled.empty() && !names(options.enabled, name)) {
            record.refusal =
                Refusal{"not_enabled",
                        fmt::format("plugins.enabled does not name '{}'; add it there to load it", name)};
        }
    }
    return records;
}

}  // namespace minions::core
