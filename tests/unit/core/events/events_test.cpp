#include "core/events/events.hpp"

#include "core/store/sql.hpp"
#include "tests/unit/core/store/temporary_directory.hpp"

#include <catch2/catch.hpp>

#include <thread>

using namespace minions;
using namespace minions::core;

namespace {
SteadyTime soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(20); }
SteadyTime now() { return std::chrono::steady_clock::now(); }
}  // namespace

TEST_CASE("a reader gets what comes after its subscription") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    Events events(store);
    events.post("before", "s", Value());
    auto reader = events.subscribe();
    CHECK_FALSE(reader->next(now()));
    events.post("after", "s", Value::object({{"k", 1}}));
    const auto event = reader->next(soon());
    REQUIRE(event);
    CHECK(event->type == "after");
    CHECK(event->id == 2);
    CHECK(event->data["k"].int_or(0) == 1);
    CHECK_FALSE(reader->next(now()));
}

TEST_CASE("replay and live follow each other without gap or duplicate under concurrent writers") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    Events events(store);
    constexpr int writers = 4;
    constexpr int each = 150;
    // More than memory keeps, so that early ids can only come from the table.
    store.transact([](Transaction& transaction) {
        for (int i = 0; i < 2000; ++i) transaction.event("old", "s", Value());
    });
    std::vector<std::thread> threads;
    for (int i = 0; i < writers; ++i)
        threads.emplace_back([&] {
            for (int n = 0; n < each; ++n) events.post("new", "s", Value());
        });
    const std::int64_t last = 2000 + writers * each;
    std::vector<std::thread> readers;
    std::atomic<int> complete{0};
    for (const std::int64_t after : {0, 1, 1500, 1999})
        readers.emplace_back([&, after] {
            auto reader = events.subscribe(after);
            std::int64_t expected = after + 1;
            while (expected <= last) {
                const auto event = reader->next(soon());
                if (!event || event->id != expected) return;
                ++expected;
            }
            ++complete;
        });
    for (auto& thread : threads) thread.join();
    for (auto& thread : readers) thread.join();
    CHECK(complete == 4);
    CHECK(events.last_id() == last);
}

TEST_CASE("ids go on after a restart, and old ones can be replayed") {
    const TemporaryDirectory directory;
    {
        Store store(directory.path());
        Events events(store);
        for (int i = 0; i < 3; ++i) events.post("old", "s", Value());
    }
    Store store(directory.path());
    Events events(store);
    auto reader = events.subscribe(1);
    CHECK(reader->next(soon())->id == 2);
    CHECK(reader->next(soon())->id == 3);
    events.post("new", "s", Value());
    CHECK(reader->next(soon())->id == 4);
}

TEST_CASE("a reader that has fallen behind the table is told what it lost, and goes on") {
    const TemporaryDirectory directory;
    StoreOptions options;
    options.events_kept = 10;
    {
        Store store(directory.path(), options);
        Events events(store);
        for (int i = 0; i < 30; ++i) events.post("x", "s", Value());
    }
    Store store(directory.path(), options);
    Events events(store);
    auto reader = events.subscribe(5);
    const auto lost = reader->next(soon());
    REQUIRE(lost);
    CHECK(lost->type == events_lost);
    CHECK(lost->data["after"].int_or(0) == 5);
    CHECK(lost->data["before"].int_or(0) == 21);
    CHECK(reader->next(soon())->id == 21);

    auto ahead = events.subscribe(1000);
    CHECK(ahead->next(soon())->type == events_lost);
    CHECK_FALSE(ahead->next(now()));
    events.post("y", "s", Value());
    CHECK(ahead->next(soon())->id == 31);
}

TEST_CASE("a wait ends by its cancel descriptor, and by close()") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    Events events(store);
    auto reader = events.subscribe();
    EventFd cancel;
    cancel.raise();
    CHECK_FALSE(reader->next(SteadyTime::max(), cancel.fd()));
    std::thread waiter([&] { CHECK_FALSE(reader->next(SteadyTime::max())); });
    events.close();
    waiter.join();
}
