#pragma once

#include "cli/session.hpp"

namespace minions::cli {

/// Runs the command that `spec` describes (as the first message of the WebSocket in docs/api.md) in the
/// instance, between this program's standard streams and the command's, and returns what to exit with.
/// Signals that would end this program go to the command; the third of a kind ends it after all.
int exec_stream(Session& session, const std::string& name, Value spec);

}  // namespace minions::cli
