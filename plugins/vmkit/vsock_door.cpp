#include "plugins/vmkit/vsock_door.hpp"

#include <minions/agent/protocol.hpp>
#include <minions/error.hpp>

#include <linux/vm_sockets.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

namespace minions::vmkit {

VsockDoor::VsockDoor(agent::Loop& loop)
    : loop_(loop), listener_(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_vm address{};
    address.svm_family = AF_VSOCK;
    address.svm_cid = VMADDR_CID_ANY;
    address.svm_port = agent::vsock_port;
    if (!listener_ ||
        ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_.get(), 64) != 0)
        throw error_from_errno(errno, "cannot listen on the host's vsock");
    loop_.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept(); });
}

VsockDoor::~VsockDoor() { loop_.forget(listener_.get()); }

void VsockDoor::expect(unsigned cid, const void* whose, Arrived arrived) {
    guests_[cid] = {whose, std::move(arrived)};
}

void VsockDoor::forget(unsigned cid, const void* whose) {
    const auto found = guests_.find(cid);
    if (found != guests_.end() && found->second.whose == whose) guests_.erase(found);
}

void VsockDoor::accept() {
    sockaddr_vm from{};
    socklen_t size = sizeof from;
    Fd connection(
        ::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connection) return;
    const auto found = guests_.find(from.svm_cid);
    // A guest that nobody expects yet dials again.
    if (found != guests_.end()) found->second.arrived(std::move(connection));
}

}  // namespace minions::vmkit
