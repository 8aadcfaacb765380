#pragma once

#include <minions/base/sync.hpp>
#include <minions/types.hpp>

#include <condition_variable>
#include <cstddef>
#include <map>
#include <string>
#include <thread>
#include <utility>

namespace minions::core {

/// One lock for each instance, held while something outside of the database is made for its life or undone:
/// what cleans up after a life must not meet the next one. A thread may hold one several times. [any thread]
class InstanceLocks {
  public:
    class Held {
      public:
        Held(InstanceLocks& locks, std::string instance) : locks_(&locks), instance_(std::move(instance)) {}
        Held(Held&& other) noexcept
            : locks_(std::exchange(other.locks_, nullptr)), instance_(std::move(other.instance_)) {}
        Held& operator=(Held&&) = delete;
        ~Held() {
            if (locks_ != nullptr) locks_->release(instance_);
        }

      private:
        InstanceLocks* locks_;
        std::string instance_;
    };

    /// Throws deadline if another thread holds it until then.
    [[nodiscard]] Held hold(const std::string& instance, SteadyTime until);

  private:
    struct Holder {
        std::thread::id thread;
        std::size_t times = 0;
    };
    void release(const std::string& instance) noexcept;

    Sync<std::map<std::string, Holder>> held_;
    std::condition_variable released_;
};

}  // namespace minions::core
