#pragma once

#include <minions/agent/link.hpp>
#include <minions/base/event_fd.hpp>
#include <minions/context.hpp>
#include <minions/runtime.hpp>

#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace minions::vmkit {

class VsockDoor;

/// The one thread on which the agents of all guests are spoken to.
class AgentLoop {
  public:
    AgentLoop();
    /// Every client of it must be gone.
    ~AgentLoop();
    AgentLoop(const AgentLoop&) = delete;
    AgentLoop& operator=(const AgentLoop&) = delete;

    agent::Loop& loop() noexcept { return loop_; }
    /// Runs `call` on the thread and returns when it has.
    void run(const std::function<void()>& call);

    /// Where agents arrive over the host's vsock, for AgentAddress::Kind::vsock. Null where that cannot be
    /// had: no such sockets here, or another program has the port. [any thread]
    VsockDoor* vsock();

  private:
    agent::Loop loop_;
    std::unique_ptr<VsockDoor> door_;  ///< made when first asked for
    bool door_tried_ = false;
    std::thread thread_;
};

class AgentRequest;

/// Where a guest's agent is met.
struct AgentAddress {
    enum class Kind {
        listen,  ///< we listen on this Unix socket and the agent's connections arrive there (hybrid vsock,
                 ///< tests)
        vsock,   ///< the agent's connections arrive from `cid` over the host's vsock (AF_VSOCK)
        serial   ///< the VMM listens on it, and what passes are the bytes of a virtio-serial port
    };
    Kind kind = Kind::listen;
    std::string path;
    unsigned cid = 0;  ///< Kind::vsock
};

/// The host's side of one guest's agent. Calls wait for the agent to be there, up to their own deadline. All
/// methods: [any thread]; calls may run beside each other.
class AgentClient {
  public:
    /// `up` is called on the loop's thread with each new session, `down` when it is lost; neither may block.
    /// Throws Error where the socket cannot be made.
    struct Events {
        std::function<void()> up;
        std::function<void()> down;
    };
    AgentClient(AgentLoop& loop, const AgentAddress& address, Events events = {});
    /// Calls under way fail with unavailable.
    ~AgentClient();
    AgentClient(const AgentClient&) = delete;
    AgentClient& operator=(const AgentClient&) = delete;

    /// Returns when there is a session. Throws deadline, cancelled.
    void wait_ready(const Context& ctx);
    /// The agent's version; empty without a session.
    std::string version() const;

    /// A request without streams. Throws Error for every end but `done`, unavailable when the session is
    /// lost.
    agent::Fields call(const Context& ctx, agent::Method method, agent::Fields fields = {});

    /// As ExecFacet, FilesFacet, ForwardFacet and StatsFacet say.
    ExecEnd exec(const Context& ctx, const ExecSpec& spec, ExecStreams streams);
    void read_files(const Context& ctx, const std::string& path, Fd out);
    void write_files(const Context& ctx, const std::string& path, Fd in);
    Fd forward(const Context& ctx, int port);
    Stats stats(const Context& ctx);

  private:
    struct Impl;
    agent::Fields run(const Context& ctx, const std::shared_ptr<AgentRequest>& request,
                      bool until_open = false, Fd control = {});
    AgentLoop& loop_;
    std::unique_ptr<Impl> impl_;  ///< belongs to the loop's thread
};

}  // namespace minions::vmkit
