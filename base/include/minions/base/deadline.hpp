#pragma once

#include <poll.h>

#include <chrono>
#include <cstddef>

namespace minions {

/// A point on the monotonic clock by which a call must have ended.
using Deadline = std::chrono::steady_clock::time_point;

/// The deadline of a call that may wait for ever.
constexpr Deadline no_deadline = Deadline::max();

/// The deadline `span` from now.
template <class Rep, class Period>
Deadline deadline_in(std::chrono::duration<Rep, Period> span) {
    return std::chrono::steady_clock::now() + std::chrono::ceil<Deadline::duration>(span);
}

/// poll() until something is ready or the deadline comes; goes on after signals. Returns how many are ready,
/// 0 at the deadline (after having looked once, even if it is past). Entries with a negative fd are ignored,
/// as poll() does. Throws std::system_error. [any thread]
int poll_until(pollfd* fds, std::size_t count, Deadline deadline);

}  // namespace minions
