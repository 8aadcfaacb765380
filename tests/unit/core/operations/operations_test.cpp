#include "core/operations/operations.hpp"

#include "core/events/events.hpp"
#include "tests/unit/core/store/temporary_directory.hpp"

#include <minions/error.hpp>

#include <catch2/catch.hpp>
#include <poll.h>

#include <latch>
#include <thread>

using namespace minions;
using namespace minions::core;
using namespace std::chrono_literals;

namespace {

SteadyTime soon() { return std::chrono::steady_clock::now() + 20s; }

struct World {
    TemporaryDirectory directory;
    Store store{directory.path()};
    Operations operations{store};
};

OperationRequest request(std::function<Value(OperationContext&)> work, std::string instance = "") {
    OperationRequest made;
    made.kind = "test";
    made.subject = "subject";
    made.instance = std::move(instance);
    made.work = std::move(work);
    return made;
}

/// Work that goes on until it is cancelled, and says so by throwing.
Value until_cancelled(OperationContext& context) {
    EventFd never;
    pollfd fd{context.cancel_fd(), POLLIN, 0};
    poll_until(&fd, 1, soon());
    context.check();
    return "was not cancelled";
}

template <class Fn>
Error error_of(Fn&& fn) {
    try {
        fn();
    } catch (const Error& error) {
        return error;
    }
    FAIL("nothing was thrown");
    return {Code::internal, ""};
}

}  // namespace

TEST_CASE("an operation's outcome is its result, and is kept") {
    World world;
    const auto operation = world.operations.start(request([](OperationContext& context) {
        context.stage("middle");
        context.progress({"", "a line", {}, {}});
        return Value::object({{"x", 1}});
    }));
    CHECK(operation->wait(soon())["x"].int_or(0) == 1);
    CHECK(operation->message() == "a line");
    const auto kept = world.operations.find(operation->id());
    REQUIRE(kept);
    CHECK(kept->row().status == OperationStatus::succeeded);
    CHECK(kept->row().stage == "middle");
    CHECK(kept->row().finished_at);
    CHECK(kept->wait(soon())["x"].int_or(0) == 1);
    CHECK_FALSE(world.operations.find("nosuchnosuch"));
}

TEST_CASE("an operation's failure keeps code and details") {
    World world;
    const auto operation = world.operations.start(request([](OperationContext&) -> Value {
        throw Error{Code::failed, "it broke"}.with("log", "tail");
    }));
    const Error error = error_of([&] { operation->wait(soon()); });
    CHECK(error.code() == Code::failed);
    CHECK(error.details()["log"].string_or("") == "tail");
    CHECK(error.details()["operation"].string_or("") == operation->id());
    CHECK(world.operations.find(operation->id())->row().status == OperationStatus::failed);
}

TEST_CASE("rows of prepare share the commit, and refuse the operation by throwing") {
    World world;
    auto refused = request([](OperationContext&) { return Value(); }, "i");
    refused.prepare = [](Transaction& transaction) {
        transaction.event("never", "", Value());
        throw Error{Code::conflict, "no"};
    };
    CHECK(error_of([&] { world.operations.start(refused); }).code() == Code::conflict);
    CHECK(world.operations.list(10).empty());
    CHECK_FALSE(world.operations.owner_of("i"));
    CHECK_NOTHROW(
        world.operations.start(request([](OperationContext&) { return Value(); }, "i"))->wait(soon()));
}

TEST_CASE("one operation at a time for an instance; the refusal names the other") {
    World world;
    const auto first = world.operations.start(request(until_cancelled, "i"));
    const Error error = error_of([&] { world.operations.start(request(until_cancelled, "i")); });
    CHECK(error.code() == Code::busy);
    CHECK(error.details()["operation"].string_or("") == first->id());
    CHECK_NOTHROW(
        world.operations.start(request([](OperationContext&) { return Value(); }, "j"))->wait(soon()));
    CHECK(world.operations.owner_of("i") == first);
    first->cancel("enough");
    const Error cancelled = error_of([&] { first->wait(soon()); });
    CHECK(cancelled.code() == Code::cancelled);
    CHECK(cancelled.message() == "enough");
    CHECK(first->row().status == OperationStatus::cancelled);
    CHECK_NOTHROW(
        world.operations.start(request([](OperationContext&) { return Value(); }, "i"))->wait(soon()));
}

TEST_CASE("a higher rank cancels, waits for the rollback, and runs") {
    World world;
    std::atomic<bool> rolled_back{false};
    std::latch begun(1);
    const auto first = world.operations.start(request(
        [&](OperationContext& context) -> Value {
            begun.count_down();
            try {
                return until_cancelled(context);
            } catch (...) {
                rolled_back = true;
                throw;
            }
        },
        "i"));
    begun.wait();
    auto destroy = request([&](OperationContext&) { return Value(rolled_back.load()); }, "i");
    destroy.kind = "destroy";
    destroy.rank = Rank::destroy;
    destroy.join = true;
    const auto second = world.operations.start(destroy);
    CHECK(second->wait(soon()).bool_or(false));
    CHECK(first->row().status == OperationStatus::cancelled);
}

TEST_CASE("a destroy joins the destroy under way, and ends a forced stop that still waits") {
    World world;
    std::latch go(1);
    auto slow = request(
        [&](OperationContext&) {
            go.wait();
            return Value();
        },
        "i");
    const auto stubborn = world.operations.start(slow);
    auto stop = request(
        [](OperationContext& context) {
            context.check();
            return Value("stopped");
        },
        "i");
    stop.kind = "stop";
    stop.rank = Rank::forced_stop;
    const auto waiting = world.operations.start(stop);
    auto destroy = request([](OperationContext&) { return Value("gone"); }, "i");
    destroy.kind = "destroy";
    destroy.rank = Rank::destroy;
    destroy.join = true;
    const auto first = world.operations.start(destroy);
    const auto second = world.operations.start(destroy);
    CHECK(first == second);
    CHECK(error_of([&] { world.operations.start(stop); }).code() == Code::busy);
    go.count_down();
    CHECK(first->wait(soon()).string_or("") == "gone");
    CHECK(error_of([&] { waiting->wait(soon()); }).code() == Code::cancelled);
}

TEST_CASE("past its deadline an operation is cancelled, and the waiter gets its id") {
    World world;
    auto late = request(until_cancelled, "i");
    late.timeout = 50ms;
    const auto operation = world.operations.start(late);
    const Error error = error_of([&] { operation->wait(); });
    CHECK(error.code() == Code::deadline);
    CHECK(error.details()["operation"].string_or("") == operation->id());
    CHECK(operation->row().status == OperationStatus::failed);
}

TEST_CASE("a deadline is kept by whoever starts when others end") {
    World world;
    std::latch go(1);
    const auto other = world.operations.start(request([&](OperationContext&) {
        go.wait();
        return Value();
    }));
    auto late = request(until_cancelled);
    late.timeout = 50ms;
    CHECK_THROWS(world.operations.start(late)->wait(soon()));
    go.count_down();  // the watch was set with both of them under way
    other->wait(soon());
    const auto again = world.operations.start(late);
    CHECK_THROWS(again->wait(soon()));
    CHECK(again->finished());
}

TEST_CASE("a waiter can give up; the operation goes on") {
    World world;
    const auto operation = world.operations.start(request(until_cancelled));
    EventFd gone;
    gone.raise();
    CHECK(error_of([&] { operation->wait(soon(), gone.fd()); }).code() == Code::cancelled);
    CHECK(error_of([&] { operation->wait(std::chrono::steady_clock::now()); }).code() == Code::deadline);
    CHECK_FALSE(operation->finished());
}

TEST_CASE("a repeated request gets the first outcome, also while it runs and after a restart") {
    const TemporaryDirectory directory;
    std::atomic<int> runs{0};
    const auto keyed = [&](const std::string& hash, std::latch* go = nullptr) {
        auto made = request([&runs, go](OperationContext&) -> Value {
            if (go != nullptr) go->wait();
            return ++runs;
        });
        made.idempotency = {"key", "POST /x", hash};
        return made;
    };
    std::string id;
    {
        Store store(directory.path());
        Operations operations(store);
        std::latch go(1);
        const auto first = operations.start(keyed("body", &go));
        const auto joined = operations.start(keyed("body"));
        CHECK(joined == first);
        CHECK(error_of([&] { operations.start(keyed("other")); }).code() == Code::idempotency_mismatch);
        go.count_down();
        CHECK(joined->wait(soon()).int_or(0) == 1);
        CHECK(operations.start(keyed("body"))->wait(soon()).int_or(0) == 1);
        auto elsewhere = keyed("other");
        elsewhere.idempotency->route = "POST /y";
        CHECK(operations.start(elsewhere)->wait(soon()).int_or(0) == 2);
        id = first->id();
    }
    Store store(directory.path());
    Operations operations(store);
    const auto again = operations.start(keyed("body"));
    CHECK(again->id() == id);
    CHECK(again->wait(soon()).int_or(0) == 1);
    CHECK(runs == 2);
}

TEST_CASE("many at once with the same key run once") {
    World world;
    std::atomic<int> runs{0};
    std::vector<std::thread> clients;
    std::atomic<int> right{0};
    for (int i = 0; i < 8; ++i)
        clients.emplace_back([&] {
            auto made = request([&](OperationContext&) -> Value { return ++runs; });
            made.idempotency = {"key", "POST /x", "body"};
            if (world.operations.start(made)->wait(soon()).int_or(0) == 1) ++right;
        });
    for (auto& client : clients) client.join();
    CHECK(right == 8);
    CHECK(runs == 1);
}

TEST_CASE("an operation that is refused while another wants to join it leaves that one its turn") {
    World world;
    for (int round = 0; round < 30; ++round) {
        std::atomic<bool> refused{false};
        std::atomic<int> conflicts{0};
        std::atomic<int> ended{0};
        std::latch together(8);
        std::vector<std::thread> clients;
        for (int i = 0; i < 8; ++i)
            clients.emplace_back([&] {
                auto made = request([&](OperationContext&) { return Value("gone"); }, "i");
                made.rank = Rank::destroy;
                made.join = true;
                made.prepare = [&](Transaction&) {
                    if (!refused.exchange(true)) throw Error{Code::conflict, "refused"};
                };
                together.arrive_and_wait();
                try {
                    if (world.operations.start(made)->wait(soon()).string_or("") == "gone") ++ended;
                } catch (const Error& error) {
                    if (error.code() == Code::conflict) ++conflicts;
                }
            });
        for (auto& client : clients) client.join();
        CHECK(conflicts == 1);
        CHECK(ended == 7);
    }
}

TEST_CASE("what the work commits and its outcome are one commit, seen before its event") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    Events events(store);
    Operations operations(store);
    auto reader = events.subscribe();
    std::latch go(1);
    int finished = 0;
    auto made = request(
        [&](OperationContext& context) -> Value {
            store.transact([&](Transaction& transaction) {
                context.stage_in(transaction, "last");
                context.succeed_in(transaction, "result");
            });
            go.wait();
            throw Error{Code::failed, "too late to matter"};
        },
        "i");
    made.finished = [&](Transaction&, const OperationRow& row) {
        CHECK(row.status == OperationStatus::succeeded);
        ++finished;
    };
    const auto operation = operations.start(made);
    while (reader->next(soon())->type != "operation.finished") continue;
    CHECK(operations.find(operation->id())->row().status == OperationStatus::succeeded);
    CHECK_FALSE(operations.owner_of("i"));
    const auto stored =
        store.transact([&](Transaction& transaction) { return transaction.operation(operation->id()); });
    CHECK(stored->status == OperationStatus::succeeded);
    CHECK(stored->result.string_or("") == "result");
    go.count_down();
    CHECK(operation->wait(soon()).string_or("") == "result");
    CHECK(operations.find(operation->id())->row().status == OperationStatus::succeeded);
    CHECK(finished == 1);
}

TEST_CASE("an outcome that cannot be stored is shown all the same") {
    World world;
    auto made = request([](OperationContext&) { return Value("done"); });
    made.finished = [](Transaction&, const OperationRow&) {
        throw Error{Code::no_space, "the disk is full"};
    };
    const auto operation = world.operations.start(made);
    CHECK(operation->wait(soon()).string_or("") == "done");
    const auto listed = world.operations.list(10);
    REQUIRE(listed.size() == 1);
    CHECK(listed[0].status == OperationStatus::succeeded);
    CHECK(world.operations.find(operation->id()) == operation);
}

TEST_CASE("what a former daemon left running has failed") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    OperationRow row;
    row.id = "aaaaaaaaaaaa";
    row.kind = "test";
    row.created_at = "2026-01-01T00:00:00.000Z";
    store.transact([&](Transaction& transaction) { transaction.insert_operation(row); });
    Operations operations(store);
    operations.fail_interrupted();
    const auto found = operations.find(row.id);
    REQUIRE(found);
    CHECK(found->row().status == OperationStatus::failed);
    CHECK(error_of([&] { found->wait(soon()); }).message().find("daemon restarted") != std::string::npos);
}

TEST_CASE("draining cancels, waits and refuses") {
    World world;
    const auto operation = world.operations.start(request(until_cancelled));
    CHECK(world.operations.drain(soon()));
    CHECK(operation->row().status == OperationStatus::cancelled);
    CHECK(error_of([&] { world.operations.start(request(until_cancelled)); }).code() == Code::unavailable);
}

namespace {

/// Operations with two threads for each pool, and work that holds such a thread until it is let go.
struct Narrow {
    Narrow() {
        OperationsOptions options;
        options.threads = 2;
        operations.emplace(store, options);
    }
    ~Narrow() { let_go(); }
    OperationRequest hold(std::string pool, std::string instance = "") {
        auto made = request(
            [this](OperationContext&) -> Value {
                ++held;
                begun.raise();
                released.wait(soon() + 60s);
                return "held";
            },
            std::move(instance));
        made.pool = std::move(pool);
        return made;
    }
    /// Returns once both threads of the pool are taken.
    void fill(const std::string& pool, const std::string& instance = "") {
        for (int i = 0; i < 2; ++i) {
            begun.clear();
            operations->start(hold(pool, instance.empty() ? "" : instance + std::to_string(i)));
            REQUIRE(begun.wait(soon()));
        }
    }
    void let_go() { released.raise(); }

    TemporaryDirectory directory;
    Store store{directory.path()};
    std::atomic<int> held{0};
    EventFd begun;
    EventFd released;
    std::optional<Operations> operations;
};

}  // namespace

TEST_CASE("a pool is bounded and queues what is beyond; others go on beside it") {
    Narrow world;
    world.fill("slow");
    std::vector<OperationPtr> all;
    for (int i = 0; i < 10; ++i) all.push_back(world.operations->start(world.hold("slow")));
    auto elsewhere = request([](OperationContext&) { return Value("elsewhere"); });
    elsewhere.pool = "other";
    CHECK(world.operations->start(elsewhere)->wait(soon()).string_or("") == "elsewhere");
    CHECK(world.held == 2);
    world.let_go();
    for (const auto& operation : all) CHECK(operation->wait(soon()).string_or("") == "held");
    CHECK(world.held == 12);
}

TEST_CASE("what ends others has a thread when all are taken") {
    Narrow world;
    world.fill("stuck", "i");
    auto destroy = request([](OperationContext&) { return Value("gone"); }, "j");
    destroy.pool = "stuck";
    destroy.rank = Rank::destroy;
    CHECK(world.operations->start(destroy)->wait(soon()).string_or("") == "gone");
}

TEST_CASE("an operation that is ended before it had a thread rolls back at once") {
    Narrow world;
    world.fill("stuck");
    const bool late = GENERATE(false, true);
    CAPTURE(late);
    std::atomic<bool> rolled_back{false};
    auto waits = request([&](OperationContext& context) -> Value {
        try {
            context.check();
            return "went on";
        } catch (const Error&) {
            rolled_back = true;
            throw;
        }
    });
    waits.pool = "stuck";
    if (late) waits.timeout = 50ms;
    const auto operation = world.operations->start(waits);
    if (!late) operation->cancel("enough");
    CHECK(error_of([&] { operation->wait(soon()); }).code() == (late ? Code::deadline : Code::cancelled));
    CHECK(rolled_back);
    CHECK(world.held == 2);
}

TEST_CASE("journal and state are on disk before the call goes on") {
    World world;
    InstanceRow row;
    row.id = "iiiiiiiiiiii";
    row.owner = "local";
    row.name = "a";
    row.created_at = "2026-01-01T00:00:00.000Z";
    world.store.transact([&](Transaction& transaction) { transaction.insert_instance(row); });
    const auto operation = world.operations.start(request([&](OperationContext& context) -> Value {
        auto call = context.call("fake", row.id);
        auto entry = call.journal().intend("disk", "k");
        auto rows = world.store.transact(
            [&](Transaction& transaction) { return transaction.journal_of_instance(row.id); });
        if (rows.size() != 1 || rows[0].row.held || rows[0].operation != context.id())
            return "intent is missing";
        entry->held();
        call.save_state({2, Value::object({{"a", 1}})});
        rows = world.store.transact(
            [&](Transaction& transaction) { return transaction.journal_of_instance(row.id); });
        if (!rows.at(0).row.held) return "not held";
        call.journal().gone("disk", "k");
        return world.store.transact([&](Transaction& transaction) -> Value {
            if (!transaction.journal_of_instance(row.id).empty()) return "not gone";
            return transaction.instances().at(0).state->version == 2 ? "good" : "no state";
        });
    }));
    CHECK(operation->wait(soon()).string_or("") == "good");
}
