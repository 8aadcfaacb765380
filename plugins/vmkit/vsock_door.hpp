#pragma once

#include <minions/agent/loop.hpp>
#include <minions/base/fd.hpp>

#include <functional>
#include <map>

/// Inside of the agent client only.
namespace minions::vmkit {

/// The host's vsock port of the agents. All guests dial the same one; who it is the sender's CID says.
/// Belongs to the loop's thread.
class VsockDoor {
  public:
    /// Throws Error where this host has no vsock, or somebody else has the port.
    explicit VsockDoor(agent::Loop& loop);
    ~VsockDoor();
    VsockDoor(const VsockDoor&) = delete;
    VsockDoor& operator=(const VsockDoor&) = delete;

    using Arrived = std::function<void(Fd)>;
    /// Connections from that CID go to `arrived` from here on, whoever had them before. Others are closed.
    void expect(unsigned cid, const void* whose, Arrived arrived);
    /// Nothing if another has taken the CID over.
    void forget(unsigned cid, const void* whose);

  private:
    struct Guest {
        const void* whose = nullptr;
        Arrived arrived;
    };
    void accept();

    agent::Loop& loop_;
    Fd listener_;
    std::map<unsigned, Guest> guests_;
};

}  // namespace minions::vmkit
