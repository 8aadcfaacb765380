#include "core/store/ids.hpp"
#include "core/store/sql.hpp"
#include "tests/unit/core/instances/fake_runtime.hpp"

using namespace minions;
using namespace minions::core;

TEST_CASE("instances outlive the daemon") {
    World world;
    world.create("a");
    const std::string id = world.instances().get({"a"})->row.id;
    world.restart();
    CHECK(world.status("a") == Status::unknown);  // before anybody was asked
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    CHECK(world.status("a") == Status::running);
    CHECK(world.instances().get({"a"})->row.id == id);
    const auto now = world.runtime.state.lock();
    CHECK(now->seen[id].boot == 1);
    CHECK(now->seen[id].state->version == 1);
    CHECK(now->calls.back() == "recovered");
}

TEST_CASE("an instance stays unknown until its runtime reports it") {
    World world;
    world.create("a");
    world.restart();
    world.runtime.recover_knows = false;
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    const auto view = world.instances().get({"a"});
    CHECK(view->status == Status::unknown);
    world.instances().report("fake", {view->row.id, view->row.boot, view->row.facts});
    CHECK(world.status("a") == Status::running);
}

TEST_CASE("what a crash interrupted is resolved by what is true") {
    World world;
    for (const char* name : {"creating", "starting", "stopping", "destroying"}) world.create(name);
    const std::string interrupted = new_id();
    // What the disk holds when the daemon is killed in the middle of each.
    world.daemon->store.transact([&](Transaction& transaction) {
        for (InstanceRow row : transaction.instances()) {
            row.status = decode<Status>(Value(row.name));
            transaction.update_instance(row);
        }
        OperationRow operation;
        operation.id = interrupted;
        operation.kind = "instance.start";
        operation.created_at = now_rfc3339();
        transaction.insert_operation(operation);
        transaction.insert_journal({{0, "", "image", "orphan", false}, "fake", operation.id, ""});
        transaction.insert_journal({{0, "gonegonegone", "disk", "x", true}, "fake", "", ""});
    });
    world.runtime.state.lock()->objects.insert("imageorphan");
    world.restart();
    auto reader = world.daemon->events.subscribe();
    world.instances().start();
    world.wait_event(*reader, "instance.destroyed");
    world.wait_event(*reader, "instance.destroyed");
    REQUIRE(world.instances().wait_recovered(soon()));
    CHECK(world.status("starting") == Status::running);
    CHECK(world.status("stopping") == Status::running);
    CHECK(error_of([&] { world.instances().get({"creating"}); }).code() == Code::not_found);
    CHECK(error_of([&] { world.instances().get({"destroying"}); }).code() == Code::not_found);
    CHECK(world.instances().diagnosis({"creating"})["error"]["message"].string_or("").find("daemon ended") !=
          std::string::npos);
    CHECK(world.daemon->operations.find(interrupted)->row().status == OperationStatus::failed);
    // Ends the background work: orphans have been released by then.
    for (const char* name : {"starting", "stopping"}) world.instances().destroy({name})->wait(soon());
    reader.reset();
    world.daemon.reset();
    CHECK(world.runtime.empty());
    Store store(world.directory.path());
    store.transact([](Transaction& transaction) { CHECK(transaction.journal().empty()); });
}

TEST_CASE("what a crash interrupted is known as soon as its runtime reports it") {
    World world;
    for (const char* name : {"starting", "stopping"}) world.create(name);
    world.daemon->store.transact([&](Transaction& transaction) {
        for (InstanceRow row : transaction.instances()) {
            row.status = decode<Status>(Value(row.name));
            transaction.update_instance(row);
        }
    });
    world.restart();
    world.runtime.recover_knows = false;
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    for (const char* name : {"starting", "stopping"}) {
        const auto view = world.instances().get({name});
        CHECK(view->status == Status::unknown);
        world.instances().report("fake", {view->row.id, view->row.boot, view->row.facts});
        CHECK(world.status(name) == Status::running);
    }
    CHECK(world.instances().stop({"stopping"})->wait(soon())["status"].string_or("") == "stopped");
}

TEST_CASE("one slow instance keeps no other unknown") {
    World world;
    for (const char* name : {"a", "b", "slow", "c", "d"}) world.create(name);
    world.restart();
    {
        const auto now = world.runtime.state.lock();
        now->hanging.insert("recover slow");
        for (auto& [id, facts] : now->instances) facts.status = Status::stopped;
    }
    auto reader = world.daemon->events.subscribe();
    world.instances().start();
    for (int known = 0; known < 4; ++known) world.wait_event(*reader, "instance.stopped");
    CHECK_FALSE(world.instances().wait_recovered(std::chrono::steady_clock::now()));
    CHECK(world.status("slow") == Status::unknown);
    for (const char* name : {"a", "b", "c", "d"}) CHECK(world.status(name) == Status::stopped);
}

TEST_CASE("what a runtime could not say is asked for after a look at its health") {
    World world;
    world.create("a");
    world.restart();
    world.runtime.fail("recover", true);
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    CHECK(world.instances().get({"a"})->reason == "recover fails");
    world.runtime.state.lock()->instances.begin()->second.status = Status::stopped;
    auto reader = world.daemon->events.subscribe();
    world.instances().health_checked("fake");
    world.wait_event(*reader, "instance.stopped");
    CHECK(world.status("a") == Status::stopped);
    CHECK(world.runtime.count("inspect") == 1);
}

TEST_CASE("a report whose commit fails leaves the instance as unknown as it was") {
    World world;
    world.create("a");
    world.restart();
    const auto view = world.instances().get({"a"});
    InstanceFacts died = view->row.facts;
    died.status = Status::stopped;
    Sql other(world.directory.path() / "state.db");
    other.execute("CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END");
    world.instances().report("fake", {view->row.id, view->row.boot, died});
    CHECK(world.status("a") == Status::unknown);
    other.execute("DROP TRIGGER refuse");
    world.instances().report("fake", {view->row.id, view->row.boot, view->row.facts});
    CHECK(world.status("a") == Status::running);
}

TEST_CASE("an instance whose object is gone is in error, and can be destroyed") {
    World world;
    world.create("a");
    world.restart();
    world.runtime.state.lock()->instances.clear();
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    CHECK(world.status("a") == Status::error);
    CHECK_NOTHROW(world.instances().destroy({"a"})->wait(soon()));
}

TEST_CASE("a runtime that hangs in recovery delays neither the start nor the end") {
    World world;
    world.create("a");
    world.restart();
    world.runtime.state.lock()->hanging.insert("recover");
    const auto began = std::chrono::steady_clock::now();
    world.instances().start();
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(5));
    CHECK(world.status("a") == Status::unknown);
    CHECK_FALSE(world.instances().wait_recovered(std::chrono::steady_clock::now()));
    world.daemon.reset();
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(15));
}
