#include "core/operations/operations.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <poll.h>

namespace minions::core {

namespace {
/// What a waiter grants beyond the deadline for the rollback, before it is told that the operation goes on.
constexpr auto rollback_grace = std::chrono::seconds(10);
}  // namespace

Operation::Operation(OperationRow row, SteadyTime deadline) : id_(row.id), deadline_(deadline) {
    const bool over = row.status != OperationStatus::running;
    state_.lock()->row = std::move(row);
    if (over) done_.raise();
}

OperationRow Operation::row() const { return state_.lock()->row; }
std::string Operation::message() const { return state_.lock()->message; }
Progress Operation::progress() const {
    const auto state = state_.lock();
    return {{}, state->message, state->done, state->total};
}
bool Operation::finished() const { return state_.lock()->row.status != OperationStatus::running; }

Value Operation::wait(SteadyTime until, int cancel_fd) const {
    pollfd fds[] = {{done_.fd(), POLLIN, 0}, {cancel_fd, POLLIN, 0}};
    const int ready = poll_until(fds, 2, until);
    if (ready == 0)
        throw Error{Code::deadline, fmt::format("operation {} has not ended in time", id_),
                    fmt::format("it goes on: ask for /api/operations/{}", id_)}
            .with("operation", id_);
    if (fds[0].revents == 0)
        throw Error{Code::cancelled, fmt::format("the wait for operation {} was given up", id_)};
    const auto state = state_.lock();
    if (state->row.status != OperationStatus::succeeded) throw decode_error(state->row.error);
    return state->row.result;
}

Value Operation::wait(int cancel_fd) const {
    const bool bounded = deadline_ < SteadyTime::max() - rollback_grace;
    return wait(bounded ? deadline_ + rollback_grace : SteadyTime::max(), cancel_fd);
}

void Operation::cancel(std::string reason, Code code) {
    const auto state = state_.lock();
    if (state->row.status != OperationStatus::running || state->cancelled) return;
    state->cancelled = true;
    state->cancel_reason = std::move(reason);
    state->cancel_code = code;
    end_early(*state);
}

void Operation::end_early(const State& state) {
    cancel_.raise();
    if (state.waiting_work) state.waiting_work();
}

}  // namespace minions::core
