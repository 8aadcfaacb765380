#pragma once

#include <minions/base/fd.hpp>
#include <minions/http_client/client.hpp>

#include <string>

namespace minions::http {

/// Waits until `events` are ready on `fd` (-1: for the deadline alone). Throws Error deadline or cancelled.
void await(int fd, short events, const Call& call, const std::string& where);

/// A connected, non-blocking socket. Throws Error unavailable, deadline, cancelled.
Fd connect_to(const Endpoint& endpoint, const Call& call);

}  // namespace minions::http
