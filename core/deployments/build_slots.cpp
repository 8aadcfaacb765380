#include "core/deployments/build_slots.hpp"

#include <minions/error.hpp>

#include <algorithm>

namespace minions::core {

BuildSlots::Slot BuildSlots::acquire(Deadline deadline, int cancel_fd) {
    EventFd turn;
    {
        auto state = state_.lock();
        if (state->free > 0) {
            --state->free;
            return Slot(*this);
        }
        state->waiting.push_back(&turn);
    }
    pollfd wait[2] = {{turn.fd(), POLLIN, 0}, {cancel_fd, POLLIN, 0}};
    int ready = 0;
    try {
        ready = poll_until(wait, 2, deadline);
    } catch (...) {
        auto state = state_.lock();
        if (std::erase(state->waiting, &turn) == 0) ++state->free;
        throw;
    }
    {
        auto state = state_.lock();
        if (std::erase(state->waiting, &turn) == 0) return Slot(*this);
    }
    if (ready == 0)
        throw Error(Code::deadline, "the deployment's time ran out while others were being built");
    throw Error(Code::cancelled, "the deployment was cancelled while it waited for others");
}

std::optional<BuildSlots::Slot> BuildSlots::try_acquire() {
    auto state = state_.lock();
    if (state->free == 0) return std::nullopt;
    --state->free;
    return Slot(*this);
}

void BuildSlots::give_back() noexcept {
    auto state = state_.lock();
    if (state->waiting.empty()) {
        ++state->free;
        return;
    }
    EventFd* next = state->waiting.front();
    state->waiting.pop_front();
    next->raise();  // under the lock: the waiter's object lives until it has seen that it left the list
}

}  // namespace minions::core
