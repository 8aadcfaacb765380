#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace minions::core::http {

/// A bounded pool of threads that are made when needed and retire when idle. Nothing queues: what finds no
/// thread is refused. Any thread may call.
class LanePool {
  public:
    /// `name` shows in ps and top, at most 15 characters.
    LanePool(std::string name, std::size_t max_threads, std::chrono::milliseconds idle);
    /// Tells idle threads to end; does not wait.
    ~LanePool();

    /// False when every thread is busy and no further one may be made. `task` must not throw.
    bool try_run(std::function<void()> task);

    /// Retires idle threads and waits until no thread is left. False if `until` comes first: the threads are
    /// then left to themselves, and touch nothing of this object.
    bool stop(std::chrono::steady_clock::time_point until);

    std::size_t threads() const;

  private:
    struct State;
    static void run(const std::shared_ptr<State>& state);
    std::shared_ptr<State> state_;
};

}  // namespace minions::core::http
