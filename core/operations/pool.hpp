#pragma once

#include <minions/base/sync.hpp>

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <thread>

namespace minions::core {

/// Threads made when there is work and ended when there is none for some seconds; at most `threads`. Work
/// beyond that waits in order. [any thread]
class Pool {
  public:
    explicit Pool(std::size_t threads);
    /// Runs what is queued, then joins.
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    /// `work` must not throw.
    void post(std::function<void()> work);

    std::size_t running() const;
    std::size_t queued() const;

  private:
    struct State {
        std::deque<std::function<void()>> queue;
        std::size_t threads = 0;
        std::size_t idle = 0;
        bool stopping = false;
        std::list<std::thread> made;
        std::list<std::thread> ended;  ///< to be joined by whoever comes next
    };
    std::function<void()> next(std::list<std::thread>::iterator self);

    const std::size_t limit_;
    Sync<State> state_;
    std::condition_variable work_;
    std::condition_variable ended_;
};

}  // namespace minions::core
