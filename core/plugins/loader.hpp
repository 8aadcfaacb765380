#pragma once

#include "core/plugins/description.hpp"
#include "core/plugins/file_checks.hpp"
#include "core/plugins/runtime_client.hpp"
#include "core/plugins/runtimes.hpp"
#include "core/plugins/sink.hpp"

#include <minions/base/sync.hpp>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace minions::core {

struct LoaderOptions {
    std::vector<std::filesystem::path>
        directories;                    ///< searched for *.so, in this order; absent ones are skipped
    std::vector<std::string> enabled;   ///< runtimes to load; empty: all
    std::vector<std::string> required;  ///< runtimes without which the daemon does not start
    std::vector<std::string> isolated;  ///< runtimes that get a process of their own
    std::string default_runtime;        ///< `runtimes.default`, may be empty
    std::chrono::milliseconds describe_timeout{5000};
    std::chrono::milliseconds open_timeout{10000};
    std::chrono::milliseconds health_timeout{2000};
    ClientTimes call_times;

    std::string self_executable = "/proc/self/exe";  ///< started for descriptions and isolated plugins
    std::vector<std::string> describe_arguments{"plugin-describe"};
    std::vector<std::string> host_arguments{"plugin-host"};

    std::string installation;
    std::filesystem::path
        state_dir;  ///< each plugin gets runtimes/NAME below it and below run_dir, mode 0700
    std::filesystem::path run_dir;

    /// The typed values of the plugin's configuration keys. Throws Error{invalid}, which refuses the plugin.
    std::function<Value(const PluginDescription&)> configure = [](const PluginDescription&) {
        return Value::object();
    };
};

/// A file that was found, and what came of it.
struct PluginRecord {
    std::string path;
    std::optional<PluginDescription> description;  ///< as far as it could be had
    std::optional<Refusal> refusal;                ///< nullopt: it may be, or has been, loaded
    CheckedFile file;
};

/// Finds, checks and describes plugins, all at the same time, without loading any into this process.
/// Duplicate names are refused (the first one found counts), and so is what is not enabled.
std::vector<PluginRecord> find_plugins(const LoaderOptions& options);

/// The runtimes of this daemon: those of the plugins that were found and not refused.
///
/// The set is fixed when the constructor returns; health is unknown (not healthy) until the first refresh().
/// No plugin is ever unloaded. Thread-safe.
class PluginLoader final : public Runtimes {
  public:
    /// Loads them. One bad plugin never stops the others. Throws Error{unavailable} when a required one is
    /// missing or refused. `sink` outlives the loader.
    PluginLoader(LoaderOptions options, PluginSink& sink);
    ~PluginLoader() override;

    std::vector<const RuntimeHandle*> all() const override;
    const RuntimeHandle* find(std::string_view name) const override;
    Health health(const RuntimeHandle& runtime) const override;
    const RuntimeHandle& default_runtime() const override;
    const RuntimeHandle& require(std::string_view name) const override;

    /// Asks a runtime for its health, for at most health_timeout and the grace of calls. Never throws: a
    /// runtime that does not answer is not healthy. Repeated calls while one is under way return at once.
    void refresh(const RuntimeHandle& runtime) noexcept;
    /// Asks all of them side by side, and returns when each has answered or its time is over.
    void refresh();

    /// The array of GET /api/plugins: {"name","version","description","kind","path","state" (loaded,
    /// refused), "code","reason","facets","features","health"}. `reason` of a loaded one is that of its
    /// health.
    Value list() const;
    /// Why plugins were refused, as lines for the log.
    std::vector<std::string> warnings() const;

  private:
    struct Loaded {
        std::unique_ptr<RuntimeClient> client;
        Sync<Health> health;
        std::atomic<bool> asking = false;
    };

    void load(PluginRecord& record);
    std::unique_ptr<RuntimeClient> open_in_child(const PluginRecord& record, const seam::Open& parameters,
                                                 PluginSink& sink) const;
    std::unique_ptr<RuntimeClient> open_here(const PluginRecord& record, const seam::Open& parameters) const;
    /// The record of a runtime that was refused, or null.
    const PluginRecord* refused(std::string_view name) const;
    seam::Open open_parameters(const PluginDescription& description) const;
    void check_required() const;
    const Loaded* loaded(const RuntimeHandle& runtime) const;
    std::string reasons() const;

    const LoaderOptions options_;
    PluginSink& sink_;
    std::vector<PluginRecord> records_;
    std::map<std::string, std::unique_ptr<Loaded>, std::less<>> loaded_;
    std::vector<std::string> order_;  // names as they were found
};

}  // namespace minions::core
