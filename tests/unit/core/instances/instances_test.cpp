#include "tests/unit/core/instances/fake_runtime.hpp"

using namespace minions;
using namespace minions::core;

TEST_CASE("an instance goes through its life") {
    World world;
    world.create("a");
    CHECK(world.instances().pause({"a"})->wait(soon())["status"].string_or("") == "paused");
    CHECK(world.instances().resume({"a"})->wait(soon())["status"].string_or("") == "running");
    CHECK(world.instances().stop({"a"})->wait(soon())["status"].string_or("") == "stopped");
    CHECK(world.instances().start({"a"})->wait(soon())["status"].string_or("") == "running");
    CHECK(world.instances().get({"a"})->row.boot == 2);
    CHECK(world.instances().restart({"a"})->wait(soon())["status"].string_or("") == "running");
    CHECK(world.instances().get({"a"})->row.boot == 3);
    StopOptions force;
    force.force = true;
    CHECK(world.instances().stop({"a"}, force)->wait(soon())["status"].string_or("") == "stopped");
    CHECK(world.runtime.count("kill") == 1);
    ResizeSpec resize;
    resize.cpus = 4;
    CHECK(world.instances().resize({"a"}, resize)->wait(soon())["cpus"].int_or(0) == 4);
    CHECK(world.instances().rename({"a"}, "b")->wait(soon())["name"].string_or("") == "b");
    CHECK(error_of([&] { world.instances().get({"a"}); }).code() == Code::not_found);
    CHECK(world.instances().destroy({"b"})->wait(soon())["message"].string_or("") == "VM 'b' destroyed");
    CHECK(world.runtime.empty());
    CHECK(error_of([&] { world.instances().destroy({"b"}); }).code() == Code::not_found);
}

TEST_CASE("what a state does not allow is refused with the state and what would do") {
    World world;
    world.create("a");
    const Error error = error_of([&] { world.instances().start({"a"}); });
    CHECK(error.code() == Code::wrong_state);
    CHECK(error.message() == "cannot start VM 'a' while it is running");
    CHECK(error.hint() == "possible while it is: stopped, error");
    CHECK_FALSE(world.daemon->operations.owner_of(world.instances().get({"a"})->row.id));
    CHECK(error_of([&] { world.instances().exec({"a"}, {}, {}, {}); }).code() ==
          Code::unsupported_by_runtime);
    CHECK(world.instances().stats({"a"}, {}).uptime_secs == 5);
    world.instances().stop({"a"})->wait(soon());
    CHECK(error_of([&] { world.instances().stats({"a"}, {}); }).code() == Code::wrong_state);
    CHECK(error_of([&] { world.instances().get({"a", "somebody"}); }).message() == "VM 'a' not found");
}

TEST_CASE("a change that fails ends in what is true") {
    World world;
    world.create("a");
    world.runtime.fail("stop");
    CHECK(error_of([&] { world.instances().stop({"a"})->wait(soon()); }).message() == "stop fails");
    CHECK(world.status("a") == Status::running);
    world.runtime.fail("stop", false);
    world.instances().stop({"a"})->wait(soon());
    world.runtime.fail("start");
    CHECK_THROWS(world.instances().start({"a"})->wait(soon()));
    CHECK(world.status("a") == Status::stopped);
    CHECK(world.instances().get({"a"})->reason == "start fails");
}

TEST_CASE("a forced stop ends the change under way") {
    World world;
    world.create("a");
    world.instances().stop({"a"})->wait(soon());
    world.runtime.state.lock()->hanging.insert("start");
    const auto start = world.instances().start({"a"});
    const Error busy = error_of([&] { world.instances().restart({"a"}); });
    CHECK(busy.code() == Code::busy);
    CHECK(busy.details()["operation"].string_or("") == start->id());
    StopOptions force;
    force.force = true;
    CHECK(world.instances().stop({"a"}, force)->wait(soon())["status"].string_or("") == "stopped");
    CHECK(start->row().status == OperationStatus::cancelled);
}

TEST_CASE("what a runtime reports shows at once; stale boots do not") {
    World world;
    world.create("a");
    const auto before = world.instances().get({"a"});
    auto reader = world.daemon->events.subscribe();
    InstanceFacts died;
    died.status = Status::stopped;
    died.exit_code = 137;
    world.instances().report("fake", {before->row.id, 0, died});
    CHECK(world.status("a") == Status::running);
    world.instances().report("other", {before->row.id, 1, died});
    CHECK(world.status("a") == Status::running);
    world.instances().report("fake", {"nosuchnosuch", 1, died});
    world.instances().report("fake", {before->row.id, 1, died});
    CHECK(world.status("a") == Status::stopped);
    const auto event = reader->next(soon());
    REQUIRE(event);
    CHECK(event->type == "instance.stopped");
    CHECK(event->subject == "a");
    CHECK(event->data["exit_code"].int_or(0) == 137);
    CHECK(world.instances().list({}).body->find("\"exit_code\":137") != std::string::npos);
    // The same again is no news.
    world.instances().report("fake", {before->row.id, 1, died});
    CHECK(world.daemon->events.last_id() == event->id);
}

TEST_CASE("an end that is reported during the start is not lost") {
    World world;
    world.runtime.within_start = [&](const Instance& instance) {
        InstanceFacts died;
        died.status = Status::stopped;
        died.exit_code = 1;
        world.instances().report("fake", {instance.id, instance.boot, died});
    };
    world.create("a");
    CHECK(world.status("a") == Status::stopped);
    CHECK(world.instances().get({"a"})->row.facts.exit_code == 1);
}

TEST_CASE("while its runtime is away an instance is unknown, and comes back") {
    World world;
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    world.create("a");
    world.daemon->runtimes.set_healthy(false);
    world.instances().health_checked("fake");
    CHECK(world.status("a") == Status::unknown);
    CHECK(world.instances().get({"a"})->row.status == Status::running);
    CHECK(world.instances().list({}).body->find("\"status\":\"unknown\"") != std::string::npos);
    const Error error = error_of([&] { world.instances().stop({"a"}); });
    CHECK(error.code() == Code::unavailable);
    CHECK(error.message().find("the engine is away") != std::string::npos);
    // It died meanwhile: asked for when the runtime is back.
    world.runtime.state.lock()->instances.begin()->second.status = Status::stopped;
    auto reader = world.daemon->events.subscribe();
    world.daemon->runtimes.set_healthy(true);
    world.instances().health_checked("fake");
    world.wait_event(*reader, "instance.stopped");
    CHECK(world.status("a") == Status::stopped);
}

TEST_CASE("a destroy while the runtime is away is kept, and completed when it is back") {
    World world;
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    world.create("a");
    world.daemon->runtimes.set_healthy(false);
    world.instances().health_checked("fake");
    const Error error = error_of([&] { world.instances().destroy({"a"})->wait(soon()); });
    CHECK(error.code() == Code::unavailable);
    CHECK(error.hint().find("repeating") != std::string::npos);
    CHECK(world.status("a") == Status::destroying);
    auto reader = world.daemon->events.subscribe();
    world.daemon->runtimes.set_healthy(true);
    world.instances().health_checked("fake");
    world.wait_event(*reader, "instance.destroyed");
    CHECK(world.runtime.empty());
}

TEST_CASE("a destroy that failed goes on though its runtime was healthy all along") {
    World world;
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    world.create("a");
    world.runtime.fail("destroy", true);
    CHECK(error_of([&] { world.instances().destroy({"a"})->wait(soon()); }).code() == Code::unavailable);
    CHECK(world.status("a") == Status::destroying);
    world.runtime.fail("destroy", false);
    auto reader = world.daemon->events.subscribe();
    world.instances().health_checked("fake");
    world.wait_event(*reader, "instance.destroyed");
    CHECK(world.runtime.empty());
}

TEST_CASE("a destroy that fails again and again is tried in pauses") {
    World world;
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    world.create("a");
    world.runtime.fail("destroy", true);
    CHECK(error_of([&] { world.instances().destroy({"a"})->wait(soon()); }).code() == Code::unavailable);
    for (int i = 0; i < 3; ++i) world.look();
    world.daemon->operations.drain(soon());
    CHECK(world.runtime.count("destroy") == 2);
}

TEST_CASE("what an operation has left behind is undone when it is over") {
    World world;
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    EventFd made;
    EventFd go_on;
    OperationRequest request;
    request.kind = "test";
    request.work = [&](OperationContext& context) {
        auto call = context.call("fake", "");
        call.journal().intend("layer", "left")->held();
        made.raise();
        go_on.wait(soon());
        return Value();
    };
    const auto operation = world.daemon->operations.start(std::move(request));
    REQUIRE(made.wait(soon()));
    world.look();
    CHECK(world.runtime.count("release layer") == 0);
    go_on.raise();
    operation->wait(soon());
    world.look();
    CHECK(world.runtime.count("release layer") == 1);
}

TEST_CASE("a runtime that hangs in its logs does not keep a create from being undone") {
    World world;
    world.runtime.fail("start");
    world.runtime.state.lock()->hanging.insert("logs");
    CHECK(error_of([&] { world.create("a"); }).message() == "start fails");
    CHECK(world.instances().diagnosis({"a"})["log_tail"] == Value::array({"first", "last"}));
    CHECK(world.runtime.empty());
}
