#include "core/store/ids.hpp"
#include "core/store/transaction_impl.hpp"

namespace minions::core {

namespace {
/// Old events go a batch at a time, so that most commits do not pay for it.
constexpr std::int64_t prune_every = 1024;
}  // namespace

void Transaction::after_commit(std::function<void()> what) { impl_.hooks.push_back(std::move(what)); }

std::int64_t Transaction::event(std::string_view type, std::string_view subject, Value data) {
    Event event;
    event.id = ++impl_.last_event;
    event.time = now_rfc3339();
    event.type = type;
    event.subject = subject;
    event.data = std::move(data);
    impl_.sql->command("INSERT INTO events (id, time, type, subject, data) VALUES (?, ?, ?, ?, ?)", event.id,
                       event.time, type, subject, document_text(event.data));
    const auto kept = static_cast<std::int64_t>(impl_.options.events_kept);
    if (event.id % prune_every == 0 || kept < prune_every)
        impl_.sql->command("DELETE FROM events WHERE id <= ?", event.id - kept);
    impl_.new_events.push_back(std::move(event));
    return impl_.last_event;
}

std::vector<Event> Transaction::events(std::int64_t after, std::size_t limit) {
    std::vector<Event> events;
    for (auto& [id, time, type, subject, data] :
         impl_.sql->query<Poco::Int64, std::string, std::string, std::string, std::string>(
             "SELECT id, time, type, subject, data FROM events WHERE id > ? ORDER BY id LIMIT ?", after,
             limit)) {
        Event& event = events.emplace_back();
        event.id = id;
        event.time = std::move(time);
        event.type = std::move(type);
        event.subject = std::move(subject);
        event.data = text_document(data);
    }
    return events;
}

std::pair<std::int64_t, std::int64_t> Transaction::event_range() {
    return {impl_.sql->number("SELECT coalesce(min(id), 0) FROM events"), impl_.last_event};
}

}  // namespace minions::core
