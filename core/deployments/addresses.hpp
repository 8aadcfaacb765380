#pragma once

#include <minions/base/deadline.hpp>

#include <sys/socket.h>

#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// Whether an address is reachable by everybody: not loopback, link-local, private, shared (CGNAT),
/// unspecified, multicast, reserved, unique local, nor an IPv6 form that wraps such an IPv4 address.
bool is_public_address(const sockaddr& address) noexcept;

/// A host in the one form that everybody reads alike: without its last dot, and an address in any notation
/// that a resolver takes ("0x08.0x08.8.8") as plain text ("8.8.8.8"). Resolves nothing.
std::string canonical_host(std::string_view host);

/// Throws Error{invalid} for a host that is a private address in any notation a resolver takes ("0x7f.1"), or
/// a name that always means this machine ("localhost"). Resolves nothing.
void refuse_private_host(std::string_view host);

/// The addresses of a host as text, at least one, in the resolver's order. With `public_only`, one that is
/// not public refuses the host: a name with both kinds is how such a check gets evaded. Throws invalid,
/// failed (does not resolve), cancelled, deadline. The resolver itself cannot be interrupted: it is left
/// behind on a thread of its own, holding nothing of the caller's.
std::vector<std::string> resolve_host(const std::string& host, bool public_only, Deadline deadline,
                                      int cancel_fd);

}  // namespace minions::core
