#include "plugins/docker/runtime.hpp"
#include "tests/unit/plugins/docker/fake_engine.hpp"
#include "tests/unit/plugins/support.hpp"

#include <catch2/catch.hpp>

#include <atomic>

using namespace minions;
using namespace minions::docker;
using namespace minions::docker::test;
using namespace minions::test;

TEST_CASE("the watcher reports after each connection, and what happens between") {
    std::atomic<bool> dead{false};
    std::atomic<bool> announce{false};
    FakeEngine engine([&](const Asked& asked) {
        if (has(asked.target, "/events")) {
            asked.begin_stream();
            if (announce) {
                asked.chunk("{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":\"x\",\"Attri");
                asked.chunk("butes\":{\"minions.instance\":\"inst1\"}}}\n");
            }
            return asked.hold();
        }
        if (has(asked.target, "/containers/json")) {
            return asked.answer(
                200, dead ? element("exited", "Exited (9) 1 second ago") : element("running", "Up"));
        }
        asked.answer(200, announce ? R"({"Id":"0123456789abcdef","State":{"Status":"paused","Pid":7}})"
                          : dead   ? R"({"Id":"0123456789abcdef","State":{"Status":"exited","ExitCode":9,)"
                                     R"("FinishedAt":"2026-01-01T00:00:00Z"}})"
                                   : R"({"Id":"0123456789abcdef","State":{"Status":"running","Pid":7}})");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK_FALSE(runtime.recover(ctx, with_container()));
    runtime.recovered(ctx);
    // The list has no pid; the look at leisure finds it.
    CHECK(host.saw([](const auto& event) { return event.boot == 3 && event.facts.pid == 7; }));

    engine.stop();
    CHECK(host.saw_health_changes(2));
    host.forget();
    dead = true;
    engine.start();
    CHECK(host.saw([](const auto& event) { return event.boot == 3 && event.facts.exit_code == 9; }));

    engine.stop();
    host.forget();
    announce = true;
    engine.start();
    CHECK(host.saw([](const auto& event) { return event.facts.status == Status::paused; }));
}

namespace {

/// Is told of facts without a pid slowly, as by a thread that loses its turn.
class SlowToHearOfLists : public TestHost {
  public:
    using TestHost::TestHost;
    void report(const InstanceEvent& event) noexcept override {
        if (!event.facts.pid) saw([](const auto& other) { return other.facts.pid.has_value(); }, 100ms);
        TestHost::report(event);
    }
};

}  // namespace

TEST_CASE("a list, which knows no pid, does not have the last word") {
    FakeEngine engine([&](const Asked& asked) {
        if (has(asked.target, "/events")) {
            asked.begin_stream();
            return asked.hold();
        }
        if (has(asked.target, "/containers/json")) return asked.answer(200, element("running", "Up"));
        asked.answer(200, R"({"Id":"0123456789abcdef","State":{"Status":"running","Pid":7}})");
    });
    SlowToHearOfLists host("here");
    {
        DockerRuntime runtime(host, config_for(engine));
        TestContext ctx;
        runtime.recover(ctx, with_container());
        runtime.recovered(ctx);
        CHECK(host.saw([](const auto& seen) { return !seen.facts.pid; }));
        CHECK(host.saw([](const auto& seen) { return seen.facts.pid == 7; }));
    }
    CHECK(host.events().back().facts.pid == 7);
}

namespace {

std::string event(const std::string& action) {
    return R"({"Type":"container","Action":")" + action +
           R"(","Actor":{"ID":"0123456789abcdef","Attributes":{"minions.instance":"inst1"}}})" + "\n";
}

/// Waits until the engine was asked a thing a number of times.
bool was_asked(const FakeEngine& engine, const std::string& request, int times = 1) {
    const auto give_up = deadline_in(10s);
    const auto count = [&] {
        const auto asked = engine.asked();
        return std::count_if(asked.begin(), asked.end(),
                             [&](const std::string& line) { return has(line, request.c_str()); });
    };
    while (count() < times) {
        if (Deadline::clock::now() > give_up) return false;
        poll_until(nullptr, 0, deadline_in(2ms));
    }
    return true;
}

constexpr const char* inspect = "GET /v1.41/containers/0123456789abcdef/json";

}  // namespace

TEST_CASE("a change is not lost because the engine failed one question") {
    std::atomic<int> failures{2};
    FakeEngine engine([&](const Asked& asked) {
        if (has(asked.target, "/events")) {
            asked.begin_stream();
            asked.chunk(event("die"));
            return asked.hold();
        }
        if (has(asked.target, "/containers/json")) return asked.answer(200, element("created", "Created"));
        if (has(asked.target, "/images/")) return asked.answer(200, "[]");
        if (failures-- > 0) return asked.answer(500, R"({"message":"not now"})");
        asked.answer(200, R"({"Id":"0123456789abcdef","State":{"Status":"exited","ExitCode":9,)"
                          R"("FinishedAt":"2026-01-01T00:00:00Z"}})");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    runtime.recover(ctx, with_container());
    runtime.recovered(ctx);
    CHECK(host.saw([](const auto& seen) { return seen.facts.exit_code == 9; }));
    const auto lines = host.lines();
    CHECK(std::count_if(lines.begin(), lines.end(), [](const auto& line) { return has(line, "not now"); }) ==
          1);
}

TEST_CASE("why an instance ended survives a list, which does not have it") {
    FakeEngine engine([&](const Asked& asked) {
        if (has(asked.target, "/events")) {
            asked.begin_stream();
            return asked.hold();
        }
        if (has(asked.target, "/containers/json")) {
            return asked.answer(200, element("exited", "Exited (137) 1 second ago"));
        }
        asked.answer(200, R"({"Id":"0123456789abcdef","State":{"Status":"exited","ExitCode":137,)"
                          R"("OOMKilled":true,"FinishedAt":"2026-01-01T00:00:00Z"}})");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    runtime.recover(ctx, with_container());
    runtime.recovered(ctx);
    CHECK(host.saw([](const auto& seen) { return seen.facts.reason.has_value(); }));
    for (const auto& seen : host.events()) CHECK(seen.facts.reason.has_value());
}

TEST_CASE("a list that a call overtook is not believed") {
    EventFd stopped;
    FakeEngine engine([&](const Asked& asked) {
        if (has(asked.target, "/events")) {
            asked.begin_stream();
            return asked.hold();
        }
        if (has(asked.target, "/containers/json")) {
            stopped.wait(no_deadline);
            return asked.answer(200, element("running", "Up"));
        }
        if (asked.method == "POST") return asked.answer(204, "");
        asked.answer(200, R"({"Id":"0123456789abcdef","State":{"Status":"exited","ExitCode":0,)"
                          R"("FinishedAt":"2026-01-01T00:00:00Z"}})");
    });
    TestHost host("here");
    {
        DockerRuntime runtime(host, config_for(engine));
        TestContext ctx;
        runtime.recover(ctx, with_container());
        runtime.recovered(ctx);
        REQUIRE(was_asked(engine, "/containers/json"));
        CHECK(runtime.stop(ctx, with_container(), 1s).exit_code == 0);
        stopped.raise();
        CHECK(was_asked(engine, inspect, 2));
    }
    for (const auto& seen : host.events()) CHECK(seen.facts.status != Status::running);
}

TEST_CASE("a container that turns up after its instance was destroyed is removed, if it is ours") {
    std::atomic<bool> there{false};
    std::atomic<bool> deleted{false};
    std::atomic<int> refusals{1};
    std::string installation = "here";
    bool by_event = true;
    SECTION("found by its event") {}
    SECTION("found by the list after a reconnection") { by_event = false; }
    SECTION("but not one of another installation that bears the instance's name") { installation = "there"; }
    const std::string labels =
        R"("Labels":{"minions.installation":")" + installation + R"(","minions.instance":"inst1"})";
    FakeEngine engine([&](const Asked& asked) {
        if (has(asked.target, "/events")) {
            asked.begin_stream();
            if (there && by_event) asked.chunk(event("create"));
            return asked.hold();
        }
        if (has(asked.target, "/images/")) return asked.answer(200, "[]");
        if (has(asked.target, "/containers/json")) {
            // The first list after the reconnection is empty where the event is to be what tells.
            const bool listed = there && !deleted && (!by_event || has(asked.target, "minions.instance"));
            return asked.answer(200, listed ? R"([{"Id":"0123456789abcdef",)" + labels + "}]" : "[]");
        }
        if (asked.method == "DELETE") {
            if (refusals-- > 0) return asked.answer(500, R"({"message":"not now"})");
            deleted = true;
            return asked.answer(204, "");
        }
        if (deleted || !there) return asked.answer(404, R"({"message":"No such container"})");
        asked.answer(200, R"({"Id":"0123456789abcdef","Config":{)" + labels + "}}");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    runtime.destroy(ctx, with_container());
    there = true;
    runtime.recovered(ctx);
    if (installation == "there") {
        CHECK(was_asked(engine, "minions.instance"));
        CHECK(was_asked(engine, "/images/json"));  // the task after it
        CHECK_FALSE(deleted);
    } else {
        CHECK(was_asked(engine, "DELETE /v1.41/containers/0123456789abcdef", 2));
    }
}

TEST_CASE("a layer that a build commits after it was given up is removed, though no event tells of it") {
    std::atomic<bool> committed{false};
    std::atomic<bool> there{false};
    FakeEngine engine([&](const Asked& asked) {
        if (has(asked.target, "/events")) {
            asked.begin_stream();
            return asked.hold();
        }
        if (asked.method == "DELETE") {
            there = false;
            return asked.answer(200, "[]");
        }
        if (!has(asked.target, "/images/json")) return asked.answer(200, "[]");
        asked.answer(
            200, there ? R"([{"Id":"late","RepoTags":[],"Labels":{"minions.installation":"here"}}])" : "[]");
        if (!committed.exchange(true)) there = true;
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    runtime.recovered(ctx);
    CHECK(was_asked(engine, "DELETE /v1.41/images/late"));
    CHECK_FALSE(there);
}
