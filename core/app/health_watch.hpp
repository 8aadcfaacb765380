#pragma once

#include <minions/base/sync.hpp>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <thread>

namespace minions::core {

/// Asks one runtime for its health: at once, every so often, and when it has said that it changed. Each
/// runtime has a thread of its own, so that a slow one delays nobody.
class HealthWatch {
  public:
    /// `refresh` must not throw.
    HealthWatch(std::function<void()> refresh, std::chrono::milliseconds period);
    /// Waits for a refresh under way.
    ~HealthWatch();
    HealthWatch(const HealthWatch&) = delete;
    HealthWatch& operator=(const HealthWatch&) = delete;

    /// Waits until the runtime has been asked once, or until then; false if it has not. [any thread]
    bool wait_asked(std::chrono::steady_clock::time_point until);
    /// Health may have changed. Returns at once. [any thread]
    void wake();

  private:
    struct State {
        bool woken = true;
        bool asked = false;
        bool stopping = false;
    };
    void run();

    const std::function<void()> refresh_;
    const std::chrono::milliseconds period_;
    Sync<State> state_;
    std::condition_variable changed_;
    std::thread thread_;
};

}  // namespace minions::core
