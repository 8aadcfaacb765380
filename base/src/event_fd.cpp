#include "wake_order.hpp"

#include <minions/base/event_fd.hpp>

#include <sys/eventfd.h>

#include <cstdint>
#include <system_error>

namespace minions {

EventFd::EventFd() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!fd_) throw std::system_error(errno, std::generic_category(), "eventfd");
}

void EventFd::raise() noexcept {
    const std::uint64_t one = 1;
    // Who is woken may destroy this object at once.
    const int fd = fd_.get();
    wake_order.fetch_add(1, std::memory_order_release);
    // EAGAIN means that the counter is full, so the flag is up already.
    [[maybe_unused]] const ssize_t written = ::write(fd, &one, sizeof one);
}

void EventFd::clear() noexcept {
    std::uint64_t count;
    [[maybe_unused]] const ssize_t got = ::read(fd_.get(), &count, sizeof count);
}

bool EventFd::raised() const { return wait(Deadline::min()); }

bool EventFd::wait(Deadline deadline) const {
    pollfd entry{fd_.get(), POLLIN, 0};
    return poll_until(&entry, 1, deadline) > 0;
}

}  // namespace minions
