#pragma once

#include "core/access/access.hpp"
#include "core/access/token_store.hpp"
#include "core/api/services.hpp"
#include "core/app/gate.hpp"
#include "core/app/health_watch.hpp"
#include "core/app/log.hpp"
#include "core/app/operation_metrics.hpp"
#include "core/app/paths.hpp"
#include "core/app/vm_services.hpp"
#include "core/deployments/deployments.hpp"
#include "core/http/server.hpp"
#include "core/images/image_store.hpp"
#include "core/metrics/metrics.hpp"
#include "core/net/net.hpp"
#include "core/plugins/loader.hpp"
#include "core/plugins/sink.hpp"

#include <atomic>
#include <future>
#include <map>

namespace minions::core {

/// The parts of the daemon, put together: the one place that knows all of them.
class Daemon final : private PluginSink {
  public:
    /// Opens the store, loads the plugins, begins to reconcile, and listens: requests are answered when it
    /// returns. Slow runtimes are waited for in the background. Throws Error for what keeps it from starting.
    Daemon(Config& config, Log& log);
    /// stop(), and waits for operations that are still under way.
    ~Daemon() override;
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    /// Waits until each runtime has said once how it is, or patience ends: a create right after the ready
    /// line finds its runtime. Not beside stop().
    void wait_for_runtimes(std::chrono::milliseconds patience);

    /// Addresses that answer: "http://127.0.0.1:3000", "unix:/run/minions/minions.sock".
    std::vector<std::string> addresses() const;

    /// Takes over what can change while it runs.
    void apply_reloaded();

    /// Ends streams, refuses new requests, gives operations under way time to be rolled back. May be
    /// repeated.
    void stop(std::chrono::milliseconds grace);

  private:
    void on_log(std::string_view runtime, LogLevel level, std::string_view message) override;
    void on_event(const RuntimeHandle& runtime, const InstanceEvent& event) override;
    void on_health_changed(const RuntimeHandle& runtime) override;

    /// Nothing outside calls in any more, and nothing inside runs: what members need before any of them goes,
    /// also where the constructor throws.
    void end() noexcept;
    struct End {
        Daemon& daemon;
        ~End() { daemon.end(); }
    };

    void watch_health();
    /// Why requests cannot be served as they should be; empty if they can.
    std::string not_ready();
    void refresh(const RuntimeHandle& runtime) noexcept;
    NetOptions network_options();
    ImageStoreOptions image_options();
    InstancesOptions instance_options();
    api::Services make_services();
    http::Options http_options();
    std::string metrics_text();

    Config& config_;
    Log& log_;
    const Paths paths_;
    Metrics metrics_;
    Store store_;
    Events events_;
    OperationMetrics operation_metrics_;
    Net net_;
    std::atomic<bool> others_filter_{false};  ///< an engine came or went, and with it its packet filter
    const std::future<void> network_;  ///< net_.prepare(), beside the loading of plugins
    VmServiceParts vm_services_;
    Operations operations_;
    ImageStore images_;
    Gate reports_;  ///< plugins speak before there are instances, and after
    PluginLoader plugins_;
    Instances instances_;
    Deployments deployments_;
    std::shared_ptr<StoredTokens> tokens_;
    Access access_;
    std::atomic<bool> stopping_{false};
    api::Services services_;
    Sync<std::map<std::string, std::unique_ptr<HealthWatch>, std::less<>>> watches_;
    std::unique_ptr<http::Server> server_;
    const End end_{*this};  ///< last member
};

}  // namespace minions::core
