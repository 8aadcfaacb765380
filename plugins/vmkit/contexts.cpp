#include "plugins/vmkit/contexts.hpp"

#include <minions/base/deadline.hpp>
#include <minions/error.hpp>

#include <sys/epoll.h>

#include <cerrno>

namespace minions::vmkit {

Bounded::Bounded(Context& outer, int fd, SteadyTime until)
    : outer_(outer), deadline_(std::min(outer.deadline(), until)) {
    if (fd < 0) return;
    both_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!both_) throw error_from_errno(errno, "cannot watch a machine");
    for (const int each : {outer.cancel_fd(), fd}) {
        epoll_event event{};
        event.events = EPOLLIN;
        if (each >= 0 && ::epoll_ctl(both_.get(), EPOLL_CTL_ADD, each, &event) != 0)
            throw error_from_errno(errno, "cannot watch a machine");
    }
}

bool Bounded::cancelled() const noexcept {
    if (!both_) return outer_.cancelled();
    pollfd fd{both_.get(), POLLIN, 0};
    return ::poll(&fd, 1, 0) > 0;
}

void Alone::refuse() { throw Error{Code::internal, "what a runtime does by itself has no services of core"}; }

}  // namespace minions::vmkit
