#pragma once

#include "session.hpp"

namespace minions::agent {

/// A program with its standard descriptors as channels. Throws Refusal, std::system_error.
std::unique_ptr<Task> begin_exec(Session& session, std::uint32_t stream, const Fields& fields);

}  // namespace minions::agent
