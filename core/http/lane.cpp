#include "core/http/lane.hpp"

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

namespace minions::core::http {

struct LanePool::State {
    std::string name;
    std::size_t max_threads;
    std::chrono::milliseconds idle_time;
    std::mutex mutex;
    std::condition_variable work;
    std::condition_variable ended;
    std::deque<std::function<void()>> tasks;  // each has an idle thread that will take it
    std::size_t threads = 0;
    std::size_t idle = 0;
    bool stopping = false;
};

LanePool::LanePool(std::string name, std::size_t max_threads, std::chrono::milliseconds idle)
    : state_(std::make_shared<State>()) {
    state_->name = std::move(name);
    state_->max_threads = max_threads;
    state_->idle_time = idle;
}

LanePool::~LanePool() { stop(std::chrono::steady_clock::now()); }

bool LanePool::try_run(std::function<void()> task) {
    State& state = *state_;
    const std::lock_guard lock(state.mutex);
    if (state.stopping) return false;
    if (state.idle > state.tasks.size()) {
        state.tasks.push_back(std::move(task));
        state.work.notify_one();
        return true;
    }
    if (state.threads >= state.max_threads) return false;
    state.tasks.push_back(std::move(task));
    try {
        std::thread(run, state_).detach();
    } catch (const std::system_error&) {  // no more threads in this system: as full as can be
        state.tasks.pop_back();
        return false;
    }
    ++state.threads;
    ++state.idle;
    return true;
}

void LanePool::run(const std::shared_ptr<State>& shared) {
    State& state = *shared;
    ::pthread_setname_np(::pthread_self(), state.name.c_str());
    std::unique_lock lock(state.mutex);
    for (;;) {
        const bool woken = state.work.wait_for(lock, state.idle_time,
                                               [&] { return !state.tasks.empty() || state.stopping; });
        if (state.tasks.empty()) {
            if (!woken || state.stopping) break;
            continue;
        }
        {
            const std::function<void()> task = std::move(state.tasks.front());
            state.tasks.pop_front();
            --state.idle;
            lock.unlock();
            task();
        }
        lock.lock();
        ++state.idle;
    }
    --state.idle;
    --state.threads;
    state.ended.notify_all();
}

bool LanePool::stop(std::chrono::steady_clock::time_point until) {
    std::unique_lock lock(state_->mutex);
    state_->stopping = true;
    state_->work.notify_all();
    return state_->ended.wait_until(lock, until, [&] { return state_->threads == 0; });
}

std::size_t LanePool::threads() const {
    const std::lock_guard lock(state_->mutex);
    return state_->threads;
}

}  // namespace minions::core::http
