#include "wake_order.hpp"

#include <minions/base/deadline.hpp>

#include <cerrno>
#include <system_error>

namespace minions {

int poll_until(pollfd* fds, std::size_t count, Deadline deadline) {
    for (;;) {
        timespec left{};
        const auto now = std::chrono::steady_clock::now();
        if (deadline != no_deadline && deadline > now) {
            const auto span = deadline - now;
            const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(span);
            left.tv_sec = seconds.count();
            left.tv_nsec = std::chrono::nanoseconds(span - seconds).count();
        }
        const int ready = ::ppoll(fds, count, deadline == no_deadline ? nullptr : &left, nullptr);
        if (ready >= 0) {
            static_cast<void>(wake_order.load(std::memory_order_acquire));
            return ready;
        }
        if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "poll");
    }
}

}  // namespace minions
