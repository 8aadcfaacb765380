#pragma once

#include <functional>
#include <memory>

namespace minions::core {

/// Threads for calls into plugins. A job never waits for another one to end (a plugin that hangs must not
/// starve the rest): when no thread is idle, one more starts. Idle threads end after a while. Thread-safe.
class CallThreads {
  public:
    CallThreads();
    CallThreads(const CallThreads&) = delete;
    CallThreads& operator=(const CallThreads&) = delete;
    /// Waits a moment for jobs under way; those that hang keep their thread, which ends when they return.
    ~CallThreads();

    /// Returns at once. `job` must not throw, and owns all it needs: it may outlive this object. Throws
    /// unavailable when there are too many threads (4096) or the system refuses one.
    void run(std::function<void()> job);

  private:
    struct State;
    static void work(const std::shared_ptr<State>& state);
    std::shared_ptr<State> state_;
};

}  // namespace minions::core
