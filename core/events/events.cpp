#include "core/events/events.hpp"

#include <poll.h>

#include <algorithm>

namespace minions::core {

namespace {

/// What memory keeps for readers that are nearly up to date; others read the table.
constexpr std::size_t recent_kept = 1024;
constexpr std::size_t replay_batch = 256;

std::shared_ptr<const Event> lost(std::int64_t after, std::int64_t before) {
    auto event = std::make_shared<Event>();
    event->id = before - 1;
    event->type = events_lost;
    event->data = Value::object({{"after", after}, {"before", before}});
    return event;
}

}  // namespace

Subscription::Subscription(Events& events, std::int64_t after) : events_(events), position_(after) {}

Subscription::~Subscription() { events_.state_.lock()->readers.erase(this); }

std::shared_ptr<const Event> Subscription::take() {
    std::int64_t last = 0;
    {
        const auto state = events_.state_.lock();
        if (state->closed) return nullptr;
        last = state->last;
        if (position_ == last) {
            wake_.clear();  // under the lock: a publish after this raises it again
            return nullptr;
        }
        const auto& recent = state->recent;
        if (position_ < last && !recent.empty() && recent.front()->id <= position_ + 1) {
            replay_.clear();
            auto event = recent[static_cast<std::size_t>(position_ + 1 - recent.front()->id)];
            position_ = event->id;
            return event;
        }
    }
    if (position_ > last) {
        // The reader knows ids that this database never gave out.
        auto event = lost(position_, last + 1);
        position_ = last;
        return event;
    }
    if (replay_.empty()) {
        for (Event& event : events_.store_.transact(
                 [&](Transaction& transaction) { return transaction.events(position_, replay_batch); }))
            replay_.push_back(std::make_shared<const Event>(std::move(event)));
    }
    if (replay_.empty() || replay_.front()->id > position_ + 1) {
        auto event = lost(position_, replay_.empty() ? last + 1 : replay_.front()->id);
        position_ = event->id;
        return event;
    }
    auto event = std::move(replay_.front());
    replay_.pop_front();
    position_ = event->id;
    return event;
}

std::shared_ptr<const Event> Subscription::next(SteadyTime until, int cancel_fd) {
    for (;;) {
        if (auto event = take()) return event;
        if (events_.closed()) return nullptr;
        pollfd fds[] = {{wake_.fd(), POLLIN, 0}, {cancel_fd, POLLIN, 0}};
        if (poll_until(fds, 2, until) == 0 || fds[1].revents != 0) return nullptr;
    }
}

Events::Events(Store& store) : store_(store) {
    // From one transaction, so that no commit falls between the listener and the last id.
    store_.transact(
        [this](Transaction& transaction) { state_.lock()->last = transaction.event_range().second; });
    store_.set_event_listener([this](const std::vector<Event>& events) { publish(events); });
}

Events::~Events() {
    close();
    store_.set_event_listener({});
}

void Events::publish(const std::vector<Event>& events) {
    const auto state = state_.lock();
    for (const Event& event : events) {
        state->recent.push_back(std::make_shared<const Event>(event));
        state->last = event.id;
    }
    while (state->recent.size() > recent_kept) state->recent.pop_front();
    for (Subscription* reader : state->readers) reader->wake_.raise();
}

std::unique_ptr<Subscription> Events::subscribe(std::optional<std::int64_t> after) {
    const auto state = state_.lock();
    std::unique_ptr<Subscription> reader(
        new Subscription(*this, std::max<std::int64_t>(after.value_or(state->last), 0)));
    state->readers.insert(reader.get());
    return reader;
}

void Events::post(std::string type, std::string subject, Value data) {
    store_.transact([&](Transaction& transaction) { transaction.event(type, subject, data); });
}

std::int64_t Events::last_id() const { return state_.lock()->last; }

void Events::close() {
    const auto state = state_.lock();
    state->closed = true;
    for (Subscription* reader : state->readers) reader->wake_.raise();
}

bool Events::closed() const { return state_.lock()->closed; }

}  // namespace minions::core
