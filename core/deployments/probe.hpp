#pragma once

#include <minions/base/deadline.hpp>
#include <minions/value.hpp>

#include <cstdint>
#include <string>

namespace minions::core {

struct ProbeTarget {
    std::string address;  ///< numeric, as published: nothing is resolved
    std::uint16_t port = 0;
    std::string path;  ///< has passed check_health_path()
};

/// Asks an agent by HTTP and never throws for what the agent does: {"status_code", "response"} with the body
/// as JSON where it is JSON and as a string otherwise ("truncated": true beyond 64 KiB or the deadline), or
/// {"status_code": null, "error"} where nobody answered. Redirects are reported, not followed. Throws
/// Error{cancelled}.
Value probe_http(const ProbeTarget& target, Deadline deadline, int cancel_fd);

}  // namespace minions::core
