#pragma once

#include "shim/options.hpp"

#include <minions/base/fd.hpp>

namespace minions::shim {

/// Starts the process, says on `starter` how that went, and stays until it has ended and its exit record is
/// written. The starter answers "running" with one byte; if it goes away before, the process is ended again
/// and nothing of it is left. Returns the exit code of the shim.
int supervise(const Options& options, Fd starter);

}  // namespace minions::shim
