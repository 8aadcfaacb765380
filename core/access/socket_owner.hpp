#pragma once

#include "core/access/peer.hpp"

#include <sys/types.h>

#include <optional>

namespace minions::core {

/// The uid that owns the other end of a loopback TCP connection, asked of the kernel by NETLINK_SOCK_DIAG.
///
/// Null unless both ends are loopback addresses and the client's socket is ESTABLISHED with an inode: a
/// socket that was closed right after sending is still known to the kernel, but as owned by uid 0.
std::optional<uid_t> find_socket_owner(const Peer& peer);

}  // namespace minions::core
