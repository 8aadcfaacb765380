#pragma once

#include "core/events/event.hpp"
#include "core/store/store.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/types.hpp>

#include <deque>
#include <memory>
#include <optional>
#include <set>

namespace minions::core {

class Events;

/// The type of the record that stands in for events that a reader can no longer get: its data has "after"
/// (the last id that was delivered or asked for) and "before" (the next id that will be), its id is before-1.
inline constexpr const char* events_lost = "events.lost";

/// One reader's place in the stream. Holds no events of its own: a slow reader costs nothing, is served
/// from the table once it has fallen behind memory, and gets an `events.lost` record if it falls behind
/// the table too. Used by one thread at a time; must not outlive its Events.
class Subscription {
  public:
    ~Subscription();
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;

    /// The next event in order of ids, without gap or duplicate; null when the deadline passes, `cancel_fd`
    /// becomes readable or Events was closed. Throws unavailable if the table cannot be read.
    std::shared_ptr<const Event> next(SteadyTime until, int cancel_fd = -1);

    /// The id after which the next event comes.
    std::int64_t position() const noexcept { return position_; }

  private:
    friend class Events;
    Subscription(Events& events, std::int64_t after);
    std::shared_ptr<const Event> take();

    Events& events_;
    std::int64_t position_;
    std::deque<std::shared_ptr<const Event>> replay_;
    EventFd wake_;
};

/// Hands committed events to readers, in the order of their commits. All methods: [any thread].
class Events {
  public:
    /// Becomes the store's listener; the store must outlive it, and not be used for changes after it.
    explicit Events(Store& store);
    ~Events();
    Events(const Events&) = delete;
    Events& operator=(const Events&) = delete;

    /// Everything after the event `after`; without it only what comes from now on. An id that was never
    /// given out (an older backup was restored) or is no longer kept is answered with `events.lost` first.
    std::unique_ptr<Subscription> subscribe(std::optional<std::int64_t> after = std::nullopt);

    /// Commits an event that belongs to no other change (a runtime's health).
    void post(std::string type, std::string subject, Value data);

    /// Id of the newest event, 0 if there never was one.
    std::int64_t last_id() const;

    /// Ends every wait, now and later: next() returns null at once.
    void close();
    bool closed() const;

  private:
    friend class Subscription;
    struct State {
        std::deque<std::shared_ptr<const Event>> recent;  ///< the newest, ids without gap
        std::int64_t last = 0;
        std::set<Subscription*> readers;
        bool closed = false;
    };
    void publish(const std::vector<Event>& events);

    Store& store_;
    Sync<State> state_;
};

}  // namespace minions::core
