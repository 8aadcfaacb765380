#pragma once

#include <minions/base/event_fd.hpp>
#include <minions/base/fd.hpp>
#include <minions/base/sync.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

namespace minions::agent {

/// One thread that waits for descriptors and times, and calls back. Everything but post() and stop() belongs
/// to the thread of run(), or to any one thread while run() is not running. Callbacks must not throw.
class Loop {
  public:
    using Clock = std::chrono::steady_clock;
    using Ready = std::function<void(std::uint32_t events)>;
    using TimerId = std::pair<Clock::time_point, std::uint64_t>;

    /// Throws std::system_error.
    Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    /// Calls `ready` while any of the EPOLL* `events` holds; errors and hang-ups always count. The descriptor
    /// must stay open until forget(). False where it is of a kind that is always ready (a file, /dev/null),
    /// which cannot be watched.
    bool watch(int fd, std::uint32_t events, Ready ready);
    /// Other events for a descriptor that is watched.
    void change(int fd, std::uint32_t events);
    /// Not called back any more, not even for what has been noticed already. Of an unwatched one: nothing.
    void forget(int fd) noexcept;

    TimerId at(Clock::time_point time, std::function<void()> call);
    TimerId after(std::chrono::milliseconds span, std::function<void()> call) {
        return at(Clock::now() + span, std::move(call));
    }
    void cancel(const TimerId& timer) { timers_.erase(timer); }

    /// Calls from run(), soon. [any thread]
    void post(std::function<void()> call);
    /// Until stop(). SIGPIPE is blocked in its thread.
    void run();
    /// run() returns after what it is doing. [any thread]
    void stop();

  private:
    struct Posted {
        std::vector<std::function<void()>> calls;
        bool stopping = false;
    };
    int next_timeout() const;
    void run_timers();
    bool run_posted();

    Fd epoll_;
    EventFd wake_;
    Sync<Posted> posted_;
    std::unordered_map<int, std::shared_ptr<Ready>> watched_;
    std::map<TimerId, std::function<void()>> timers_;
    std::uint64_t timer_count_ = 0;
};

}  // namespace minions::agent
