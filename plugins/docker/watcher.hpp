#pragma once

#include "plugins/docker/engine.hpp"
#include "plugins/docker/leftovers.hpp"
#include "plugins/docker/registry.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/context.hpp>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>

namespace minions::docker {

/// Keeps core's picture of our containers true: subscribes to the engine's events, looks at each instance
/// that an event names, and lists all of ours once after each connection, so that nothing that happened
/// while the engine or the daemon was away is missed. While the engine is away it tries again every 0.1 to 2
/// seconds. A look that fails is repeated until it succeeds, every 0.25 to 5 seconds. Removes what turns up
/// of destroyed instances and failed builds.
class Watcher {
  public:
    Watcher(Engine& engine, Registry& registry, Leftovers& leftovers, Host& host);
    /// Ends both threads.
    ~Watcher();

    /// Starts the threads; again is nothing.
    void start();
    /// Has one instance looked at soon. [any thread]
    void look(const std::string& instance);
    /// Has what builds left removed soon, once none is under way. [any thread]
    void tidy_up();

  private:
    /// A look that failed.
    struct Retry {
        Deadline due = no_deadline;  ///< no_deadline while it is under way
        milliseconds pause{0};
        bool told = false;  ///< the log has it
    };
    struct Tasks {
        std::deque<std::string> now;   ///< instances that something happened to
        std::set<std::string> queued;  ///< those in `now`, each once
        std::deque<std::string> idle;  ///< running ones whose pid is not known
        Deadline idle_due{};           ///< when the next of `idle` may be looked at
        std::map<std::string, Retry> failed;
        Deadline tidy_due = no_deadline;  ///< when builds' leftovers are looked for once more
        bool stop = false;
    };

    void listen();
    void listen_once();
    void handle(const ContainerEvent& event);
    void list();
    void look_at_listed(const std::string& instance, const Known& known, const Value* element);
    void work();
    std::optional<std::string> next();
    void look_again(const std::string& instance, const std::string& why);
    bool check(const std::string& instance);
    void report(const std::string& instance, std::uint64_t turn, const InstanceFacts& facts);
    Patience patience(milliseconds span) const;

    Engine& engine_;
    Registry& registry_;
    Leftovers& leftovers_;
    Host& host_;
    EventFd stop_;
    std::atomic<bool> connected_{false};
    milliseconds pause_{0};  ///< listener thread only
    std::atomic<bool> started_{false};
    std::set<std::string> orphans_;  ///< listener thread only: told of once
    std::mutex reporting_;           ///< core hears of facts in the order in which the registry took them
    Sync<Tasks> tasks_;
    std::condition_variable wake_;
    std::thread listener_;
    std::thread worker_;
};

/// What core is told of an instance whose container is gone.
InstanceFacts removed_outside();

}  // namespace minions::docker
