#pragma once

#include "core/config/config.hpp"

namespace minions::core {

struct ServeOptions {
    ConfigSources config;
};

/// Runs the daemon until SIGTERM or SIGINT; returns the exit code of the process. Call on the main thread
/// while there is no other: it blocks the signals that it waits for, and every thread inherits that. Prints
/// one line to stdout once requests are answered:
///     minions ready: http://127.0.0.1:3000 unix:/run/minions/minions.sock
/// Throws Error for what keeps it from starting.
int serve(const ServeOptions& options);

}  // namespace minions::core
