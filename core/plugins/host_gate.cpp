#include "core/plugins/host_gate.hpp"

#include <minions/base/deadline.hpp>

#include <chrono>

namespace minions::core {
namespace {

constexpr std::chrono::seconds patience_at_end{2};

}  // namespace

HostGate::HostGate(HostHandler handler) {
    state_.lock()->handler = std::make_shared<const HostHandler>(std::move(handler));
}

Message HostGate::serve(std::uint64_t serves, std::string_view text, std::vector<Fd> fds) {
    std::shared_ptr<const HostHandler> handler;
    {
        const auto state = state_.lock();
        if (!state->handler) return {unavailable_reply("the daemon is about to end"), {}};
        handler = state->handler;
        ++state->inside;
    }
    Message answer = (*handler)(serves, text, std::move(fds));
    handler.reset();
    const auto state = state_.lock();
    if (--state->inside == 0) left_.notify_all();
    return answer;
}

void HostGate::close() {
    auto state = state_.lock();
    state->handler = nullptr;
    state.wait_until(left_, deadline_in(patience_at_end), [](const State& now) { return now.inside == 0; });
}

}  // namespace minions::core
