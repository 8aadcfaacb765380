#include "tests/unit/core/instances/fake_runtime.hpp"

using namespace minions;
using namespace minions::core;

namespace {

bool no_journal(World& world) {
    return world.daemon->store.transact(
        [](Transaction& transaction) { return transaction.journal_of_instance("").empty(); });
}

}  // namespace

TEST_CASE("a copy has the spec of its source, and lives as that does") {
    World world;
    auto request = world.request("a");
    request.spec.environment = {{"SECRET", "hidden"}};
    request.spec.labels = {{"k", "v"}};
    PortSpec port;
    port.port = 80;
    port.host_port = 8080;
    request.spec.ports = {port};
    world.instances().create(request)->wait(soon());

    const Value made = world.instances().copy({"a"}, "b")->wait(soon());
    CHECK(made["name"].string_or("") == "b");
    CHECK(made["status"].string_or("") == "running");
    const auto source = world.instances().get({"a"});
    const auto copy = world.instances().get({"b"});
    CHECK(copy->row.id != source->row.id);
    CHECK(copy->row.boot == 1);
    CHECK(copy->row.spec.environment.at("SECRET") == "hidden");
    CHECK(copy->row.spec.labels == source->row.spec.labels);
    CHECK(copy->row.spec.ports.at(0).port == 80);
    CHECK(copy->row.spec.ports.at(0).host_port == 0);
    REQUIRE(copy->row.state);
    CHECK(copy->row.state->data["made"].string_or("") == copy->row.id);
    CHECK(copy->row.state->data["of"].string_or("") == source->row.id);
    CHECK(world.status("a") == Status::running);
    CHECK(world.runtime.count("create") == 1);

    world.instances().pause({"a"})->wait(soon());
    CHECK(world.instances().copy({"a"}, "c")->wait(soon())["status"].string_or("") == "running");
    CHECK(world.status("a") == Status::paused);
    world.instances().stop({"a"})->wait(soon());
    const auto starts = world.runtime.count("start");
    CHECK(world.instances().copy({"a"}, "d")->wait(soon())["status"].string_or("") == "stopped");
    CHECK(world.runtime.count("start") == starts);
    CHECK(world.instances().start({"d"})->wait(soon())["status"].string_or("") == "running");
    world.restart();
    CHECK(world.instances().get({"d"})->row.spec.environment.at("SECRET") == "hidden");
}

TEST_CASE("a copy that fails leaves its source as it was, and only its diagnosis") {
    for (const std::string step : {"copy", "start"}) {
        CAPTURE(step);
        World world;
        world.create("a");
        const auto before = world.instances().get({"a"});
        world.runtime.fail(step);
        const auto operation = world.instances().copy({"a"}, "b");
        CHECK(error_of([&] { operation->wait(soon()); }).message() == step + " fails");
        CHECK(operation->row().status == OperationStatus::failed);
        CHECK(error_of([&] { world.instances().get({"b"}); }).code() == Code::not_found);
        CHECK(world.instances().get({"a"})->row.facts == before->row.facts);
        CHECK(world.status("a") == Status::running);
        CHECK(world.instances().diagnosis({"b"})["stage"].string_or("") ==
              (step == "copy" ? "creating" : "starting"));
        CHECK(world.runtime.state.lock()->instances.size() == 1);
        CHECK(world.runtime.state.lock()->objects.size() == 2);
        CHECK(no_journal(world));
        // Both are free again.
        world.runtime.fail(step, false);
        CHECK_NOTHROW(world.instances().copy({"a"}, "b")->wait(soon()));
        world.instances().stop({"a"})->wait(soon());
    }
}

TEST_CASE("a copy keeps changes of both away, and is ended by their destruction") {
    World world;
    world.create("a");
    for (const std::string doomed : {"a", "b"}) {
        CAPTURE(doomed);
        auto reader = world.daemon->events.subscribe();
        world.runtime.state.lock()->hanging.insert("copy");
        const auto copy = world.instances().copy({"a"}, "b");
        world.wait_event(*reader, "instance.creating");
        CHECK(error_of([&] { world.instances().stop({"a"}); }).details()["operation"].string_or("") ==
              copy->id());
        CHECK(error_of([&] { world.instances().stop({"b"}); }).code() == Code::busy);
        CHECK(error_of([&] { world.instances().copy({"a"}, "c"); }).code() == Code::busy);
        world.instances().destroy({doomed})->wait(soon());
        CHECK(copy->row().status == OperationStatus::cancelled);
        CHECK(error_of([&] { world.instances().get({"b"}); }).code() == Code::not_found);
        world.runtime.state.lock()->hanging.clear();
        if (doomed == "a") world.create("a");
    }
    world.instances().destroy({"a"})->wait(soon());
    CHECK(world.runtime.empty());
}

TEST_CASE("what cannot be copied is refused at once") {
    World world;
    world.create("a");
    world.create("b");
    CHECK(error_of([&] { world.instances().copy({"x"}, "c"); }).code() == Code::not_found);
    CHECK(error_of([&] { world.instances().copy({"a"}, "b"); }).message() == "VM 'b' already exists");
    CHECK(error_of([&] { world.instances().copy({"a"}, "a"); }).code() == Code::conflict);
    CHECK(error_of([&] { world.instances().copy({"a"}, "No"); }).code() == Code::invalid);
    world.runtime.fail("start");
    world.instances().stop({"a"})->wait(soon());
    world.runtime.state.lock()->hanging.insert("stop b");
    const auto stop = world.instances().stop({"b"});
    CHECK(error_of([&] { world.instances().copy({"b"}, "c"); }).code() == Code::busy);
    stop->cancel("enough");
    CHECK_THROWS(stop->wait(soon()));
    world.daemon->runtimes.set_healthy(false);
    CHECK(error_of([&] { world.instances().copy({"a"}, "c"); }).code() == Code::unavailable);
}

TEST_CASE("a repeated copy is one copy") {
    World world;
    world.create("a");
    ChangeOptions change;
    change.idempotency = Idempotency{"key", "POST /api/vms/a/copy", "hash"};
    const auto first = world.instances().copy({"a"}, "b", change);
    const Value made = first->wait(soon());
    const auto again = world.instances().copy({"a"}, "b", change);
    CHECK(again->id() == first->id());
    CHECK(again->wait(soon()) == made);
    CHECK(world.runtime.count("copy") == 1);
    change.idempotency->body_hash = "other";
    CHECK(error_of([&] { world.instances().copy({"a"}, "b", change); }).code() == Code::idempotency_mismatch);
}

TEST_CASE("a copy that the daemon's end cut off is undone at the next start") {
    World world;
    world.create("a");
    world.runtime.state.lock()->hanging.insert("copy");
    auto reader = world.daemon->events.subscribe();
    const auto copy = world.instances().copy({"a"}, "b");
    world.wait_event(*reader, "instance.creating");
    reader.reset();
    world.restart();
    world.runtime.state.lock()->hanging.clear();
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    CHECK(error_of([&] { world.instances().get({"b"}); }).code() == Code::not_found);
    CHECK(world.status("a") == Status::running);
    CHECK(world.runtime.state.lock()->instances.size() == 1);
}
