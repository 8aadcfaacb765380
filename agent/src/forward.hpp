#pragma once

#include "session.hpp"

namespace minions::agent {

/// A TCP connection to a port of this machine's loopback. An empty `control` frame says that it stands.
/// Throws Refusal, std::system_error.
std::unique_ptr<Task> begin_forward(Session& session, std::uint32_t stream, const Fields& fields);

}  // namespace minions::agent
