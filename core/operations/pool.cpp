#include "core/operations/pool.hpp"

#include <csignal>

namespace minions::core {

namespace {

constexpr auto idle_life = std::chrono::seconds(10);

/// Signals are for the main thread, whoever's thread posts the first work.
struct BlockSignals {
    sigset_t before{};
    BlockSignals() {
        sigset_t all{};
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    ~BlockSignals() { ::pthread_sigmask(SIG_SETMASK, &before, nullptr); }
};

}  // namespace

Pool::Pool(std::size_t threads) : limit_(threads) {}

Pool::~Pool() {
    std::list<std::thread> ended;
    {
        auto state = state_.lock();
        state->stopping = true;
        work_.notify_all();
        state.wait(ended_, [](const State& now) { return now.threads == 0; });
        ended.swap(state->ended);
    }
    for (std::thread& thread : ended) thread.join();
}

void Pool::post(std::function<void()> work) {
    std::list<std::thread> ended;
    {
        const auto state = state_.lock();
        state->queue.push_back(std::move(work));
        if (state->idle < state->queue.size() && state->threads < limit_) {
            const BlockSignals blocked;
            const auto self = state->made.emplace(state->made.end());
            *self = std::thread([this, self] {
                while (const auto task = next(self)) task();
            });
            ++state->threads;
        }
        ended.swap(state->ended);
        work_.notify_one();
    }
    for (std::thread& thread : ended) thread.join();
}

/// The next work for a thread; none when the thread is to end, which is then recorded.
std::function<void()> Pool::next(std::list<std::thread>::iterator self) {
    auto state = state_.lock();
    ++state->idle;
    state.wait_until(work_, std::chrono::steady_clock::now() + idle_life,
                     [](const State& now) { return !now.queue.empty() || now.stopping; });
    --state->idle;
    if (!state->queue.empty()) {
        auto work = std::move(state->queue.front());
        state->queue.pop_front();
        return work;
    }
    --state->threads;
    state->ended.splice(state->ended.end(), state->made, self);
    ended_.notify_all();
    return {};
}

std::size_t Pool::running() const {
    const auto state = state_.lock();
    return state->threads - state->idle;
}

std::size_t Pool::queued() const { return state_.lock()->queue.size(); }

}  // namespace minions::core
