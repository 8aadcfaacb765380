#pragma once

#include <atomic>

namespace minions {

/// What a thread wrote before EventFd::raise() is seen by one that poll_until() has woken for it. The kernel
/// sees to that, but neither the language nor ThreadSanitizer knows: this says it to them.
inline std::atomic<unsigned> wake_order{0};

}  // namespace minions
