#pragma once

#include "plugins/docker/reader.hpp"

#include <minions/base/fd.hpp>

#include <sys/types.h>

#include <optional>
#include <string>

namespace minions::docker {

/// A blocking stream to a TCP port of a container, connected from inside its network namespace: so that what
/// listens on its loopback alone is reached too, whatever network it is on. `pid` is one of its processes.
/// Where the daemon may not enter, from the host to `address`. Throws Error{unavailable} when nobody listens.
Fd connect_inside(const Patience& patience, const std::string& container_id, pid_t pid,
                  const std::optional<std::string>& address, int port);

}  // namespace minions::docker
