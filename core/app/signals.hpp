#pragma once

#include <chrono>
#include <optional>

namespace minions::core {

/// Blocks the signals that the daemon waits for (INT, QUIT, TERM, HUP) in this thread and all that it starts,
/// and ignores PIPE. Before any other thread exists.
void block_signals();

/// Waits for one of them; nullopt when the time is over. On the main thread.
std::optional<int> wait_for_signal(std::optional<std::chrono::milliseconds> timeout);

}  // namespace minions::core
