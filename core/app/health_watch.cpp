#include "core/app/health_watch.hpp"

namespace minions::core {

HealthWatch::HealthWatch(std::function<void()> refresh, std::chrono::milliseconds period)
    : refresh_(std::move(refresh)), period_(period), thread_([this] { run(); }) {}

HealthWatch::~HealthWatch() {
    state_.lock()->stopping = true;
    changed_.notify_all();
    thread_.join();
}

void HealthWatch::wake() {
    state_.lock()->woken = true;
    changed_.notify_all();
}

bool HealthWatch::wait_asked(std::chrono::steady_clock::time_point until) {
    return state_.lock().wait_until(changed_, until, [](const State& now) { return now.asked; });
}

void HealthWatch::run() {
    for (;;) {
        {
            auto state = state_.lock();
            state.wait_until(changed_, std::chrono::steady_clock::now() + period_,
                             [](const State& now) { return now.woken || now.stopping; });
            if (state->stopping) return;
            state->woken = false;
        }
        refresh_();
        state_.lock()->asked = true;
        changed_.notify_all();
    }
}

}  // namespace minions::core
