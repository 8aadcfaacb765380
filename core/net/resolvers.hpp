#pragma once

#include <string>
#include <vector>

namespace minions::core {

/// The name servers (IPv4) that the host's own questions end up at, which a guest can ask too: those of
/// systemd-resolved, else of /etc/resolv.conf, without loopback addresses. May be none.
std::vector<std::string> host_resolvers();

/// As above, of the first of these files that names any.
std::vector<std::string> resolvers_of(const std::vector<std::string>& files);

}  // namespace minions::core
