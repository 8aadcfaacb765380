#include "core/app/daemon.hpp"

#include "core/api/routes.hpp"
#include "core/app/plugin_keys.hpp"
#include "core/app/settings.hpp"
#include "core/app/version.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace minions::core {
namespace {

constexpr std::chrono::seconds health_period{10};

LogLevel level_of(http::LogLevel level) {
    switch (level) {
        case http::LogLevel::debug:
            return LogLevel::debug;
        case http::LogLevel::info:
            return LogLevel::info;
        case http::LogLevel::warning:
            return LogLevel::warning;
        case http::LogLevel::error:
            break;
    }
    return LogLevel::error;
}

Paths prepared_paths(const Config& config) {
    auto paths = paths_of(config);
    make_run_directories(paths);
    return paths;
}

StoreOptions store_options(const Config& config) {
    StoreOptions options;
    options.events_kept = static_cast<std::size_t>(config.integer("events.retention"));
    return options;
}

LoaderOptions loading_options(Config& config, const Paths& paths, const std::string& installation) {
    auto options = loader_options(config);
    options.installation = installation;
    options.state_dir = paths.state;
    options.run_dir = paths.run;
    options.configure = [&config](const PluginDescription& plugin) {
        return config.configure(plugin.name, config_keys_of(config, plugin));
    };
    return options;
}

DeploymentOptions deployment_options(const Config& config, const Paths& paths, Metrics& metrics) {
    auto options = settings::deployments(config);
    options.state_dir = paths.state;
    options.built = [&metrics](std::string_view runtime, std::string_view outcome,
                               std::chrono::nanoseconds duration) {
        metrics.build(runtime, outcome, duration);
    };
    return options;
}

}  // namespace

Daemon::Daemon(Config& config, Log& log)
    : config_(config),
      log_(log),
      paths_(prepared_paths(config)),
      store_(paths_.state, store_options(config)),
      events_(store_),
      operation_metrics_(events_, metrics_),
      net_(network_options(), store_),
      network_(std::async(std::launch::async, [this] { net_.prepare(); })),
      vm_services_(store_, settings::processes(config, paths_)),
      operations_(store_, settings::operations(config)),
      images_(store_, operations_, image_options()),
      plugins_(loading_options(config, paths_, store_.installation()), *this),
      instances_(store_, events_, operations_, plugins_, instance_options()),
      deployments_(store_, operations_, instances_, plugins_, deployment_options(config, paths_, metrics_)),
      tokens_(std::make_shared<StoredTokens>(store_)),
      access_(settings::access(config), tokens_),
      services_(make_services()) {
    const auto bind = config_.list("server.bind");
    check_bind(bind, tokens_->any(), settings::access(config_).trusted);
    for (const auto& warning : plugins_.warnings()) log_.warning(warning);
    for (const auto& warning : config_.unclaimed()) log_.warning(warning);
    network_.wait();
    vm_services_.offer(net_);
    vm_services_.offer(images_);
    operations_.offer([this](VmCall call) { return vm_services_.make(std::move(call)); });
    for (const auto& sentence : images_.recover()) log_.warning(sentence);
    reports_.open();
    instances_.start();
    for (const auto& sentence : deployments_.recover()) log_.warning(sentence);
    server_ = std::make_unique<http::Server>(http_options(),
                                             http::Router(api::bind_routes(api::routes(), services_)));
    watch_health();
}

Daemon::~Daemon() = default;

void Daemon::end() noexcept {
    stop(std::chrono::milliseconds(0));
    operations_.drain(SteadyTime::max());
    reports_.close();
}

std::vector<std::string> Daemon::addresses() const {
    std::vector<std::string> addresses;
    for (const auto& address : server_->bound()) addresses.push_back(fmt::format("http://{}", address));
    if (!paths_.socket.empty()) addresses.push_back(fmt::format("unix:{}", paths_.socket));
    return addresses;
}

void Daemon::apply_reloaded() {
    log_.set_level(log_level_of(config_.string("log.level")));
    access_.set_rules(settings::access(config_));
}

void Daemon::stop(std::chrono::milliseconds grace) {
    const auto until = std::chrono::steady_clock::now() + grace;
    stopping_ = true;
    {
        // Not under the lock: a health check under way may report a change before it ends.
        auto ended = std::move(*watches_.lock());
    }
    events_.close();
    // Requests wait for operations, so both end side by side.
    std::thread ending([&] {
        if (server_) server_->stop(grace);
    });
    if (!operations_.drain(until)) {
        log_.warning("operations were still under way at the end; the next start resolves them");
    }
    ending.join();
}

void Daemon::on_log(std::string_view runtime, LogLevel level, std::string_view message) {
    log_.write(level, message, Value::object({{"runtime", runtime}}));
}

void Daemon::on_event(const RuntimeHandle& runtime, const InstanceEvent& event) {
    reports_.pass([&] { instances_.report(runtime.name, event); });
}

void Daemon::on_health_changed(const RuntimeHandle& runtime) {
    others_filter_ = true;
    reports_.pass([&] {
        const auto watches = watches_.lock();
        const auto found = watches->find(runtime.name);
        if (found != watches->end()) found->second->wake();
    });
}

void Daemon::watch_health() {
    const auto watches = watches_.lock();
    for (const auto* runtime : plugins_.all()) {
        (*watches)[runtime->name] =
            std::make_unique<HealthWatch>([this, runtime] { refresh(*runtime); }, health_period);
    }
}

void Daemon::wait_for_runtimes(std::chrono::milliseconds patience) {
    const auto until = std::chrono::steady_clock::now() + patience;
    std::vector<HealthWatch*> watches;  // not under the lock: an answer may report a change first
    for (const auto& [name, watch] : *watches_.lock()) watches.push_back(watch.get());
    for (auto* watch : watches) watch->wait_asked(until);
}

std::string Daemon::not_ready() {
    if (stopping_) return "the daemon is stopping";
    for (const auto& [name, watch] : *watches_.lock()) {
        if (!watch->wait_asked(SteadyTime::min()))
            return fmt::format("the runtime '{}' has not been asked yet", name);
    }
    return "";
}

void Daemon::refresh(const RuntimeHandle& runtime) noexcept {
    const auto before = plugins_.health(runtime);
    plugins_.refresh(runtime);
    const auto now = plugins_.health(runtime);
    if (before.healthy != now.healthy) {
        log_.write(now.healthy ? LogLevel::info : LogLevel::warning,
                   now.healthy ? "the runtime is healthy" : "the runtime is not healthy",
                   Value::object({{"runtime", runtime.name}, {"reason", now.reason}}));
    }
    // An engine sets up its packet filter before it answers.
    if (now.healthy && others_filter_.exchange(false)) net_.pass_others();
    instances_.health_checked(runtime.name);
}

NetOptions Daemon::network_options() {
    auto options = settings::network(config_);
    options.log = [this](LogLevel level, std::string_view message) { log_.write(level, message); };
    return options;
}

ImageStoreOptions Daemon::image_options() {
    auto options = settings::images(config_, paths_);
    options.default_name = [this] { return config_.string("images.default"); };
    options.instance_name = [this](const std::string& id) {
        const auto view = instances_.find(id);
        return view ? view->row.name : id;
    };
    return options;
}

InstancesOptions Daemon::instance_options() {
    auto options = settings::instances(config_);
    options.vm_image = [this](const std::string& name) { return images_.check(name); };
    return options;
}

api::Services Daemon::make_services() {
    return {store_,
            events_,
            operations_,
            plugins_,
            instances_,
            deployments_,
            *tokens_,
            version(),
            [this] { return plugins_.list(); },
            [this] { return metrics_text(); },
            [this] { return not_ready(); },
            [this] { return config_.size("exec.max_output_bytes"); },
            [this] { return config_.duration("exec.timeout_seconds"); },
            &images_};
}

http::Options Daemon::http_options() {
    http::Options options;
    options.tcp = config_.list("server.bind");
    if (!paths_.socket.empty()) options.unix_sockets.push_back(paths_.socket);
    options.socket_group = config_.string("access.group");
    options.limits = settings::http_limits(config_);
    options.authorize = [this](http::Request& request, http::Permission needed) {
        return access_.admit(request, needed);
    };
    options.log = [this](http::LogLevel level, std::string_view message) {
        log_.write(level_of(level), message);
    };
    options.observe = [this](const http::Observation& seen) {
        metrics_.request(seen.route, seen.method, seen.status, seen.duration);
    };
    return options;
}

std::string Daemon::metrics_text() {
    MetricsSnapshot snapshot;
    for (const auto& [key, count] : instances_.counts()) {
        snapshot.instances.push_back(
            {key.first, std::string(word_of(key.second)), static_cast<std::int64_t>(count)});
    }
    for (const auto* runtime : plugins_.all()) {
        snapshot.runtimes.push_back({runtime->name, plugins_.health(*runtime).healthy});
    }
    snapshot.connections = static_cast<std::int64_t>(server_->connections());
    return metrics_.text(snapshot);
}

}  // namespace minions::core
