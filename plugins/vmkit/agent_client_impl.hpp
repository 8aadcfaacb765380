#pragma once

#include "plugins/vmkit/agent_client.hpp"
#include "plugins/vmkit/agent_session.hpp"

/// Inside of the agent client only.
namespace minions::vmkit {

/// The state of a client, on the loop's thread but where it says otherwise.
struct AgentClient::Impl {
    Impl(agent::Loop& loop_in, AgentAddress address_in, Events events_in)
        : loop(loop_in), address(std::move(address_in)), events(std::move(events_in)) {}
    ~Impl();

    void open();
    void dial();
    void dial_later();
    void use(Fd connection, bool reset);
    void drop();

    agent::Loop& loop;
    AgentAddress address;
    Events events;
    Fd listener;
    VsockDoor* door = nullptr;
    std::unique_ptr<AgentSession> session;
    std::optional<agent::Loop::TimerId> redial;
    // Of every thread.
    EventFd ready;
    Sync<std::string> version;
};

}  // namespace minions::vmkit
