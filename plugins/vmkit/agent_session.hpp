#pragma once

#include <minions/agent/link.hpp>
#include <minions/agent/pipes.hpp>
#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

/// Inside of the agent client only.
namespace minions::vmkit {

/// A request on its way. Made by the thread that waits for it, moved along by the loop's thread.
class AgentRequest {
  public:
    struct Result {
        bool over = false;
        bool opened = false;  ///< the agent has sent a `control` frame: a forward stands
        std::string lost;     ///< why there is no end; empty: there is one
        agent::Fields end;
    };

    agent::Method method = agent::Method::ping;
    agent::Fields fields;
    Fd input;   ///< what is sent on channel_input
    Fd output;  ///< where channel_output goes
    Fd error;   ///< where channel_error goes

    Sync<Result> result;
    EventFd changed;  ///< raised with each change of the result

    void finish(std::string lost, agent::Fields end);

  private:
    friend class AgentSession;
    // Of the loop's thread.
    std::optional<agent::Outlet> sends_;
    std::array<std::optional<agent::Inlet>, 2> receives_;
    std::optional<agent::Fields> ended_;
};
using AgentRequestPtr = std::shared_ptr<AgentRequest>;

/// One conversation with an agent, from its hello on. Belongs to the loop's thread.
class AgentSession {
  public:
    struct Events {
        std::function<void()> welcomed;
        std::function<void(const std::string&)> lost;  ///< once; destroy the session later
    };
    /// `reset`: the channel may hold the remains of another conversation.
    AgentSession(agent::Loop& loop, Fd transport, bool reset, Events events);
    /// Requests under way end as lost.
    ~AgentSession();

    bool welcomed() const noexcept { return welcomed_; }
    const std::string& version() const noexcept { return version_; }

    /// Throws std::system_error where a descriptor cannot be used; the request is then untouched.
    void begin(const AgentRequestPtr& request);
    void control(const AgentRequestPtr& request, const agent::Fields& fields);
    void cancel(const AgentRequestPtr& request);

  private:
    void send_reset();
    void reset_answered();
    void on_frame(const agent::FrameHead& head, std::string_view payload);
    void on_hello(std::string_view payload);
    void to_request(const AgentRequestPtr& request, const agent::FrameHead& head, std::string_view payload);
    void end_if_over(std::uint32_t stream);
    std::uint32_t stream_of(const AgentRequestPtr& request) const;

    agent::Link link_;
    Events events_;
    bool welcomed_ = false;
    std::string version_;
    std::string nonce_;
    std::optional<agent::Loop::TimerId> reset_timer_;
    std::uint32_t last_stream_ = 0;
    std::map<std::uint32_t, AgentRequestPtr> requests_;
    AgentRequestPtr ended_;  ///< the last one: its pipes may be what calls
};

}  // namespace minions::vmkit
