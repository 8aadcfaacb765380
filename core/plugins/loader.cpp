#include "core/plugins/loader.hpp"

#include "core/plugins/child_process.hpp"
#include "core/plugins/in_process.hpp"
#include "core/plugins/library.hpp"
#include "core/plugins/plain_context.hpp"

#include <minions/base/deadline.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <thread>

namespace minions::core {
namespace {

namespace fs = std::filesystem;

std::string make_private_directory(const fs::path& above, const std::string& name) {
    const fs::path path = above / "runtimes" / name;
    fs::create_directories(path);
    fs::permissions(above / "runtimes", fs::perms::owner_all);
    fs::permissions(path, fs::perms::owner_all);
    return path.string();
}

void check_unchanged(const PluginRecord& record) {
    if (identity_of(record.file.path) != record.file.identity) {
        throw Refusal{"changed", "it was replaced while it was loaded; restart the daemon"};
    }
}

/// Listens to a runtime that is only rehearsed.
struct MuteSink final : PluginSink {
    void on_log(std::string_view, LogLevel, std::string_view) override {}
    void on_event(const RuntimeHandle&, const InstanceEvent&) override {}
    void on_health_changed(const RuntimeHandle&) override {}
};

/// What the runtime calls itself; of a plugin that never came to say so, its file's name.
std::string name_of(const PluginRecord& record) {
    return record.description ? record.description->name : fs::path(record.path).stem().string();
}

Health not_asked() {
    Health health;
    health.reason = "the runtime has not been asked yet";
    return health;
}

}  // namespace

PluginLoader::PluginLoader(LoaderOptions options, PluginSink& sink)
    : options_(std::move(options)), sink_(sink), records_(find_plugins(options_)) {
    std::vector<PluginRecord*> wanted;
    for (auto& record : records_) {
        if (!record.refusal) wanted.push_back(&record);
    }
    for (const auto* record : wanted) {
        const auto& name = record->description->name;
        loaded_.emplace(name, std::make_unique<Loaded>());
        *loaded_[name]->health.lock() = not_asked();
    }
    {
        std::vector<std::jthread> side_by_side;
        for (auto* record : wanted) side_by_side.emplace_back([this, record] { load(*record); });
    }
    for (const auto* record : wanted) {
        const auto& name = record->description->name;
        if (record->refusal) {
            loaded_.erase(name);
        } else {
            order_.push_back(name);
        }
    }
    check_required();
}

PluginLoader::~PluginLoader() = default;

seam::Open PluginLoader::open_parameters(const PluginDescription& description) const {
    seam::Open parameters;
    // Plugins of one daemon are configured one after the other: the configuration need not be thread-safe.
    static std::mutex configuring;
    try {
        const std::lock_guard lock(configuring);
        parameters.config = options_.configure(description);
    } catch (const Error& error) {
        throw refusal_of("bad_config", error);
    }
    parameters.installation = options_.installation;
    try {
        parameters.directories.state = make_private_directory(options_.state_dir, description.name);
        parameters.directories.run = make_private_directory(options_.run_dir, description.name);
    } catch (const fs::filesystem_error& error) {
        throw Refusal{
            "open_failed",
            fmt::format("its directories cannot be made: {}; check state_dir and run_dir", error.what())};
    }
    return parameters;
}

std::unique_ptr<RuntimeClient> PluginLoader::open_in_child(const PluginRecord& record,
                                                           const seam::Open& parameters,
                                                           PluginSink& sink) const {
    ChildTransport* child = nullptr;
    const auto connect = [&](HostHandler handler) {
        ChildOptions options{options_.self_executable, options_.host_arguments, record.file.path};
        auto made = std::make_unique<ChildTransport>(std::move(options), std::move(handler));
        child = made.get();
        return made;
    };
    auto client = std::make_unique<RuntimeClient>(*record.description, sink, connect, options_.call_times);
    try {
        client->open(parameters, deadline_in(options_.open_timeout));
    } catch (const Error& error) {
        if (const auto status = child->ended()) {
            throw Refusal{"crashed", fmt::format("its constructor ended the process it ran in: {}; report it "
                                                 "to its author",
                                                 status->to_string())};
        }
        throw;
    }
    return client;
}

std::unique_ptr<RuntimeClient> PluginLoader::open_here(const PluginRecord& record,
                                                       const seam::Open& parameters) const {
    const auto* plugin = load_plugin(record.file.path);
    check_unchanged(record);
    read_description(plugin);
    const auto connect = [&](HostHandler handler) {
        return std::make_unique<InProcessTransport>(*plugin, std::move(handler));
    };
    auto client = std::make_unique<RuntimeClient>(*record.description, sink_, connect, options_.call_times);
    client->open(parameters, deadline_in(options_.open_timeout));
    return client;
}

void PluginLoader::load(PluginRecord& record) {
    const auto& name = record.description->name;
    auto& client = loaded_.at(name)->client;
    try {
        const auto parameters = open_parameters(*record.description);
        check_unchanged(record);
        const auto& isolated = options_.isolated;
        if (std::find(isolated.begin(), isolated.end(), name) != isolated.end()) {
            client = open_in_child(record, parameters, sink_);
        } else {
            // A constructor that crashes or hangs takes only a child along, whose end frees what it opened.
            MuteSink nobody;
            open_in_child(record, parameters, nobody).reset();
            client = open_here(record, parameters);
        }
    } catch (const Refusal& refusal) {
        record.refusal = refusal;
    } catch (...) {
        const auto error = current_error();
        record.refusal =
            error.code() == Code::deadline
                ? Refusal{"hung", fmt::format("{}; report it to its author", error.message())}
                : refusal_of(error.code() == Code::invalid ? "bad_config" : "open_failed", error);
    }
}

const PluginRecord* PluginLoader::refused(std::string_view name) const {
    for (const auto& record : records_) {
        if (record.refusal && name_of(record) == name) return &record;
    }
    return nullptr;
}

void PluginLoader::check_required() const {
    for (const auto& name : options_.required) {
        if (loaded_.contains(name)) continue;
        if (const auto* record = refused(name)) {
            throw Error(Code::unavailable,
                        fmt::format("the required runtime '{}' ({}) was refused: {}", name, record->path,
                                    record->refusal->reason),
                        "cure that, or take it out of plugins.required");
        }
        throw Error(
            Code::unavailable, fmt::format("the required runtime '{}' was not found", name),
            "install its plugin, name its directory with --plugin-dir, or take it out of plugins.required");
    }
}

std::vector<const RuntimeHandle*> PluginLoader::all() const {
    std::vector<const RuntimeHandle*> handles;
    for (const auto& name : order_) handles.push_back(&loaded_.at(name)->client->handle());
    return handles;
}

const RuntimeHandle* PluginLoader::find(std::string_view name) const {
    const auto found = loaded_.find(name);
    return found == loaded_.end() ? nullptr : &found->second->client->handle();
}

const PluginLoader::Loaded* PluginLoader::loaded(const RuntimeHandle& runtime) const {
    const auto found = loaded_.find(runtime.name);
    return found == loaded_.end() ? nullptr : found->second.get();
}

Health PluginLoader::health(const RuntimeHandle& runtime) const {
    const auto* held = loaded(runtime);
    return held == nullptr ? not_asked() : *held->health.lock();
}

void PluginLoader::refresh(const RuntimeHandle& runtime) noexcept {
    const auto found = loaded_.find(runtime.name);
    if (found == loaded_.end()) return;
    auto& held = *found->second;
    if (held.asking.exchange(true)) return;
    Health health;
    try {
        PlainContext context(deadline_in(options_.health_timeout));
        health = held.client->health(context);
        if (!health.healthy && health.reason.empty()) health.reason = "the runtime gives no reason";
    } catch (const std::exception& error) {
        health.reason = error.what();
    }
    *held.health.lock() = std::move(health);
    held.asking = false;
}

void PluginLoader::refresh() {
    std::vector<std::jthread> side_by_side;
    for (const auto* runtime : all()) side_by_side.emplace_back([this, runtime] { refresh(*runtime); });
}

std::string PluginLoader::reasons() const {
    std::string text;
    for (const auto* runtime : all()) {
        text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", runtime->name, health(*runtime).reason);
    }
    for (const auto& record : records_) {
        if (!record.refusal) continue;
        text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", name_of(record), record.refusal->reason);
    }
    return text.empty() ? "there is no plugin" : text;
}

const RuntimeHandle& PluginLoader::default_runtime() const {
    if (!options_.default_runtime.empty()) return require(options_.default_runtime);
    const RuntimeHandle* best = nullptr;
    for (const auto* runtime : all()) {
        if (!health(*runtime).healthy) continue;
        if (runtime->kind == RuntimeKind::vm) return *runtime;
        if (best == nullptr) best = runtime;
    }
    if (best != nullptr) return *best;
    throw Error(Code::unavailable, fmt::format("no runtime can run instances now ({})", reasons()),
                "see 'minions plugins'", true);
}

const RuntimeHandle& PluginLoader::require(std::string_view name) const {
    const auto* runtime = find(name);
    if (runtime == nullptr) {
        if (const auto* record = refused(name)) {
            throw Error(Code::unavailable,
                        fmt::format("the runtime '{}' was refused: {}", name, record->refusal->reason),
                        "see 'minions plugins'");
        }
        throw Error(Code::invalid, fmt::format("there is no runtime '{}'", name.substr(0, 64)),
                    order_.empty() ? "no runtime is loaded: see 'minions plugins'"
                                   : fmt::format("the runtimes are {}", fmt::join(order_, ", ")));
    }
    const auto now = health(*runtime);
    if (!now.healthy) {
        throw Error(Code::unavailable, fmt::format("the runtime '{}' is not available: {}", name, now.reason),
                    "see 'minions plugins'", true);
    }
    return *runtime;
}

std::vector<std::string> PluginLoader::warnings() const {
    std::vector<std::string> lines;
    for (const auto& record : records_) {
        if (!record.refusal || record.refusal->code == "not_enabled") continue;
        lines.push_back(fmt::format("the plugin {} was refused: {}", record.path, record.refusal->reason));
    }
    return lines;
}

Value PluginLoader::list() const {
    Value all = Value::array();
    for (const auto& record : records_) {
        auto description = record.description.value_or(PluginDescription{});
        description.name = name_of(record);
        Value entry =
            Value::object({{"name", description.name},
                           {"version", description.version},
                           {"description", description.description},
                           {"kind", record.description ? Value(word_of(description.kind)) : Value()},
                           {"path", record.path},
                           {"state", record.refusal ? "refused" : "loaded"},
                           {"code", record.refusal ? Value(record.refusal->code) : Value()},
                           {"reason", record.refusal ? Value(record.refusal->reason) : Value()},
                           {"facets", encode(description.facets)},
                           {"features", encode(description.features)},
                           {"health", Value()}});
        if (const auto* runtime = record.refusal ? nullptr : find(description.name)) {
            const Health now = health(*runtime);
            entry.set("health", encode(now));
            if (!now.reason.empty()) entry.set("reason", now.reason);
        }
        all.push(std::move(entry));
    }
    return all;
}

}  // namespace minions::core
