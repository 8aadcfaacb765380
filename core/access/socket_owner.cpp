#include "core/access/socket_owner.hpp"

#include <minions/base/fd.hpp>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace minions::core {
namespace {

struct Query {
    nlmsghdr header;
    inet_diag_req_v2 request;
};

in_port_t port_of(const sockaddr_storage& address) {
    return address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                         : reinterpret_cast<const sockaddr_in&>(address).sin_port;
}

// The client's socket as the client sees it: its source is our remote end.
Query make_query(const Peer& peer, const IpAddress& remote, const IpAddress& local) {
    Query query{};
    query.header.nlmsg_len = sizeof query;
    query.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    query.header.nlmsg_flags = NLM_F_REQUEST;
    query.request.sdiag_family = static_cast<unsigned char>(remote.family());
    query.request.sdiag_protocol = IPPROTO_TCP;
    query.request.idiag_states = ~0U;
    inet_diag_sockid& id = query.request.id;
    id.idiag_sport = port_of(peer.remote);
    id.idiag_dport = port_of(peer.local);
    std::memcpy(id.idiag_src, remote.bytes(), remote.bits() / 8);
    std::memcpy(id.idiag_dst, local.bytes(), local.bits() / 8);
    id.idiag_cookie[0] = id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    return query;
}

}  // namespace

std::optional<uid_t> find_socket_owner(const Peer& peer) {
    const auto remote = peer.remote_ip();
    const auto local = peer.local_ip();
    if (!remote || !local || !remote->is_loopback() || !local->is_loopback()) return std::nullopt;
    const Fd netlink(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    if (!netlink) return std::nullopt;
    const timeval patience{1, 0};
    ::setsockopt(netlink.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const Query query = make_query(peer, *remote, *local);
    if (::send(netlink.get(), &query, sizeof query, 0) != static_cast<ssize_t>(sizeof query))
        return std::nullopt;

    alignas(nlmsghdr) char buffer[4096];
    ssize_t got = 0;
    do {
        got = ::recv(netlink.get(), buffer, sizeof buffer, 0);
    } while (got < 0 && errno == EINTR);
    if (got < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(inet_diag_msg)))) return std::nullopt;
    const auto* header = reinterpret_cast<const nlmsghdr*>(buffer);
    if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY) return std::nullopt;  // NLMSG_ERROR: no such socket
    const auto* found = static_cast<const inet_diag_msg*>(NLMSG_DATA(header));
    const bool same = found->id.idiag_sport == query.request.id.idiag_sport &&
                      found->id.idiag_dport == query.request.id.idiag_dport;  // and not a listener
    if (!same || found->idiag_state != TCP_ESTABLISHED || found->idiag_inode == 0) return std::nullopt;
    return found->idiag_uid;
}

}  // namespace minions::core
