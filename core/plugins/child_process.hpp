#pragma once

#include "core/plugins/call_threads.hpp"
#include "core/plugins/host_gate.hpp"
#include "core/plugins/socket_link.hpp"
#include "core/plugins/transport.hpp"

#include <minions/base/spawn.hpp>
#include <minions/base/sync.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

namespace minions::core {

struct ChildOptions {
    std::string program;                                ///< the daemon's own binary, absolute
    std::vector<std::string> arguments{"plugin-host"};  ///< before the plugin's path
    std::string plugin;                                 ///< absolute path of the .so
};

/// A plugin in a process of its own, over a socketpair. The child ends when its socket closes, so it never
/// outlives the daemon. When it ends by itself or is given up, every call under way and every later one fails
/// with `unavailable`, and the host is told `health_changed` in its name; it is not started again, since core
/// would have to hand over its instances anew: restart the daemon.
class ChildTransport final : public Transport {
  public:
    /// Starts the child. Throws unavailable.
    ChildTransport(ChildOptions options, HostHandler handler);
    /// Kills the child.
    ~ChildTransport() override;

    void open(Message parameters, Reply reply) override;
    void call(std::uint64_t id, Message request, Reply reply) override;
    void give_up(std::string_view why) noexcept override;

    pid_t pid() const noexcept { return process_.pid(); }
    /// How the child ended by itself, once calls fail because of it.
    std::optional<ExitStatus> ended() const { return *ended_by_.lock(); }

  private:
    void explain_end();
    void serve(std::uint64_t id, std::uint64_t serves, Message message);

    ChildOptions options_;
    std::shared_ptr<HostGate> host_;  // jobs hold it too: one that hangs outlives this object
    std::shared_ptr<SocketLink> link_;
    Sync<std::optional<ExitStatus>> ended_by_;
    std::atomic<bool> given_up_ = false;
    std::atomic<bool> ending_ = false;
    Process process_;
    std::thread receiver_;
    CallThreads threads_;
};

/// The plugin's process: `minions plugin-host PLUGIN.so [FD]` (default: descriptor 3). Loads the plugin and
/// serves calls until the socket closes. Returns the exit code.
int plugin_host_main(int argc, char** argv);

}  // namespace minions::core
