#pragma once

#include <condition_variable>
#include <mutex>
#include <utility>

namespace minions {

/// A value that can only be reached through its lock: forgetting the lock does not compile.
///
///     Sync<std::map<Id, Entry>> entries_;
///     entries_.lock()->erase(id);
template <class T>
class Sync {
  public:
    template <class... Args>
    explicit Sync(Args&&... args) : value_(std::forward<Args>(args)...) {}
    Sync(const Sync&) = delete;
    Sync& operator=(const Sync&) = delete;

    /// Holds the lock for as long as it lives.
    template <class U>
    class Guard {
      public:
        Guard(std::mutex& mutex, U& value) : lock_(mutex), value_(value) {}
        U* operator->() const { return &value_; }
        U& operator*() const { return value_; }

        /// Releases the lock while waiting; returns once `ready(value)` holds.
        template <class Predicate>
        void wait(std::condition_variable& condition, Predicate ready) {
            condition.wait(lock_, [&] { return ready(value_); });
        }
        /// As wait(), but returns false if `until` (steady clock) comes first.
        template <class TimePoint, class Predicate>
        bool wait_until(std::condition_variable& condition, TimePoint until, Predicate ready) {
            return condition.wait_until(lock_, until, [&] { return ready(value_); });
        }

      private:
        std::unique_lock<std::mutex> lock_;
        U& value_;
    };

    [[nodiscard]] Guard<T> lock() { return {mutex_, value_}; }
    [[nodiscard]] Guard<const T> lock() const { return {mutex_, value_}; }

  private:
    mutable std::mutex mutex_;
    T value_;
};

}  // namespace minions
