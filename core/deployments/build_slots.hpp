#pragma once

#include <minions/base/deadline.hpp>
#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

namespace minions::core {

/// Lets a bounded number through at a time, in the order in which they came. [any thread]
class BuildSlots {
  public:
    explicit BuildSlots(std::size_t count) : state_(count) {}

    /// Held by whoever was let through; gives the place back when destroyed.
    class Slot {
      public:
        Slot() = default;
        explicit Slot(BuildSlots& slots) : slots_(&slots) {}
        Slot(Slot&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)) {}
        Slot& operator=(Slot&&) = delete;
        ~Slot() {
            if (slots_ != nullptr) slots_->give_back();
        }

      private:
        BuildSlots* slots_ = nullptr;
    };

    /// Waits for a place. Throws Error{cancelled} once `cancel_fd` is readable, Error{deadline}.
    Slot acquire(Deadline deadline, int cancel_fd);
    /// A place if one is free now.
    std::optional<Slot> try_acquire();
    /// How many wait now.
    std::size_t waiting() const { return state_.lock()->waiting.size(); }

  private:
    struct State {
        explicit State(std::size_t count) : free(count) {}
        std::size_t free;
        std::deque<EventFd*> waiting;  ///< who is taken off this list has been given a place
    };
    void give_back() noexcept;

    Sync<State> state_;
};

}  // namespace minions::core
