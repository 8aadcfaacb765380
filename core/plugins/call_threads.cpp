#include "core/plugins/call_threads.hpp"

#include <minions/error.hpp>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

namespace minions::core {
namespace {

constexpr std::size_t most_threads = 4096;
constexpr std::chrono::seconds idle_time{10};
constexpr std::chrono::seconds patience_at_end{2};

}  // namespace

struct CallThreads::State {
    std::mutex mutex;
    std::condition_variable work;
    std::condition_variable ended;
    std::deque<std::function<void()>> jobs;
    std::size_t idle = 0;
    std::size_t threads = 0;
    bool stop = false;
};

CallThreads::CallThreads() : state_(std::make_shared<State>()) {}

CallThreads::~CallThreads() {
    std::unique_lock lock(state_->mutex);
    state_->stop = true;
    state_->work.notify_all();
    state_->ended.wait_for(lock, patience_at_end, [&] { return state_->threads == 0; });
}

void CallThreads::run(std::function<void()> job) {
    std::unique_lock lock(state_->mutex);
    if (state_->idle > state_->jobs.size()) {
        state_->jobs.push_back(std::move(job));
        lock.unlock();
        state_->work.notify_one();
        return;
    }
    if (state_->threads >= most_threads) {
        throw Error(Code::unavailable, "too many calls into runtimes are under way", "try again later", true);
    }
    state_->jobs.push_back(std::move(job));
    try {
        std::thread([state = state_] { work(state); }).detach();
    } catch (const std::system_error& error) {
        state_->jobs.pop_back();
        throw Error(Code::unavailable, std::string("cannot start a thread: ") + error.what(),
                    "raise the limit of tasks of the daemon", true);
    }
    ++state_->threads;
}

void CallThreads::work(const std::shared_ptr<State>& state) {
    std::unique_lock lock(state->mutex);
    for (;;) {
        if (state->jobs.empty()) {
            if (state->stop) break;
            ++state->idle;
            const bool woken =
                state->work.wait_for(lock, idle_time, [&] { return state->stop || !state->jobs.empty(); });
            --state->idle;
            if (!woken) break;
            continue;
        }
        auto job = std::move(state->jobs.front());
        state->jobs.pop_front();
        lock.unlock();
        job();
        job = nullptr;
        lock.lock();
    }
    --state->threads;
    state->ended.notify_all();
}

}  // namespace minions::core
