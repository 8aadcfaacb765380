#include "plugins/docker/forward.hpp"
#include "plugins/docker/runtime.hpp"
#include "tests/unit/plugins/docker/fake_engine.hpp"
#include "tests/unit/plugins/support.hpp"

#include <catch2/catch.hpp>
#include <netinet/in.h>

#include <atomic>

using namespace minions;
using namespace minions::docker;
using namespace minions::docker::test;
using namespace minions::test;

namespace {

/// The word of what a build of an empty context throws; empty for a build that succeeds.
std::string build_with(FakeEngine& engine, std::optional<std::int64_t> max_bytes) {
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    auto source = make_pipe();
    source.second.reset();
    BuildSpec spec;
    spec.tag = "t";
    spec.dockerfile = "Dockerfile";
    spec.max_bytes = max_bytes;
    return code_thrown([&] { runtime.build(ctx, spec, std::move(source.first), Fd()); });
}

}  // namespace

TEST_CASE("destroy touches only what carries our labels") {
    std::atomic<bool> ours{false};
    std::atomic<bool> deleted{false};
    FakeEngine engine([&](const Asked& asked) {
        if (asked.method == "DELETE") {
            deleted = true;
            return asked.answer(204, "");
        }
        asked.answer(
            200,
            ours ? R"({"Config":{"Labels":{"minions.installation":"here","minions.instance":"inst1"}}})"
                 : R"({"Config":{"Labels":{"minions.installation":"there","minions.instance":"inst1"}}})");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    runtime.destroy(ctx, with_container());
    CHECK_FALSE(deleted);
    ours = true;
    runtime.destroy(ctx, with_container());
    CHECK(deleted);
}

TEST_CASE(
    "an image is removed although removals of its siblings get in the way, but not from under a container") {
    std::atomic<int> removals{0};
    std::string refusal = R"({"message":"unrecognized image ID sha256:34485b59"})";
    int status = 500;
    FakeEngine engine([&](const Asked& asked) {
        if (asked.method != "DELETE") {
            return asked.answer(200,
                                R"({"Id":"sha256:1","Config":{"Labels":{"minions.installation":"here"}}})");
        }
        if (++removals == 1) return asked.answer(status, refusal);
        asked.answer(200, "[]");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    SECTION("a layer that another removal has just taken") {
        runtime.remove_image(ctx, "tag:1");
        CHECK(removals == 2);
    }
    SECTION("a layer that another image still has") {
        status = 409;
        refusal =
            R"({"message":"conflict: unable to delete 1 (cannot be forced) - image has dependent child images"})";
        runtime.remove_image(ctx, "tag:1");
        CHECK(removals == 2);
    }
    SECTION("a container that runs from it") {
        status = 409;
        refusal = R"({"message":"conflict: unable to remove repository reference: container 1 is using it"})";
        CHECK(code_thrown([&] { runtime.remove_image(ctx, "tag:1"); }) == "conflict");
        CHECK(removals == 1);
    }
}

TEST_CASE("an engine that is away is a normal state") {
    TestHost host("here");
    Config config;
    config.socket = "/nonexistent/docker.sock";
    DockerRuntime runtime(host, config);
    TestContext ctx;
    const Health health = runtime.health(ctx);
    CHECK_FALSE(health.healthy);
    CHECK(has(health.reason, "/nonexistent/docker.sock"));
    CHECK(has(health.reason, "runtimes.docker.socket"));
    CHECK(code_thrown([&] { runtime.inspect(ctx, with_container()); }) == "unavailable");
}

TEST_CASE("an engine that hangs does not hold a call beyond its deadline or its cancellation") {
    FakeEngine engine([](const Asked& asked) { asked.hold(); });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext brief(300ms);
    CHECK(code_thrown([&] { runtime.inspect(brief, with_container()); }) == "deadline");
    TestContext cancelled;
    cancelled.cancel();
    CHECK(code_thrown([&] { runtime.inspect(cancelled, with_container()); }) == "cancelled");
}

TEST_CASE("an engine that hangs does not hold logs that nobody gives a deadline") {
    FakeEngine engine([](const Asked& asked) { asked.hold(); });
    TestHost host("here");
    Config config = config_for(engine);
    config.api_timeout_seconds = 1;
    DockerRuntime runtime(host, config);
    TestContext patient(1h);
    auto pipe = make_pipe();
    CHECK(code_thrown([&] { runtime.logs(patient, with_container(), {}, std::move(pipe.second)); }) ==
          "unavailable");
}

TEST_CASE("an engine that dies in the middle of a build ends it") {
    FakeEngine engine([](const Asked& asked) {
        if (has(asked.target, "/images/")) return asked.answer(404, R"({"message":"No such image"})");
        asked.begin_stream();
        asked.chunk("{\"stream\":\"Step 1/2 : FROM a\"}\n");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    auto source = make_pipe();
    source.second.reset();
    auto log = make_pipe();
    BuildSpec spec;
    spec.tag = "t";
    spec.dockerfile = "Dockerfile";
    CHECK(code_thrown([&] { runtime.build(ctx, spec, std::move(source.first), std::move(log.second)); }) ==
          "unavailable");
    Collected text(std::move(log.first));
    CHECK(text.text() == "Step 1/2 : FROM a");
    CHECK(ctx.rows.rows().empty());
}

TEST_CASE("a build that the engine has no room for is no failure of its Dockerfile") {
    FakeEngine engine([](const Asked& asked) {
        if (has(asked.target, "/images/")) return asked.answer(404, R"({"message":"No such image"})");
        asked.begin_stream();
        asked.chunk(
            R"({"errorDetail":{"message":"write /var/lib/docker/tmp/x: no space left on device"},"error":""})"
            "\n");
        asked.end_stream();
    });
    CHECK(build_with(engine, {}) == "no_space");
}

TEST_CASE("a build ends as soon as a layer is beyond the limit") {
    std::atomic<std::int64_t> size{0};
    FakeEngine engine([&](const Asked& asked) {
        if (has(asked.target, "/images/0123456789ab/json") || has(asked.target, "/images/sha256%3A1/json"))
            return asked.answer(200, R"({"Id":"sha256:1","Parent":"p","Size":)" + std::to_string(size) + "}");
        if (has(asked.target, "/tag?")) return asked.answer(201, "");
        if (has(asked.target, "/images/")) return asked.answer(404, R"({"message":"No such image"})");
        asked.begin_stream();
        asked.chunk("{\"stream\":\"Step 1/2 : RUN a\"}\n{\"stream\":\" ---\\u003e 0123456789ab\\n\"}\n");
        if (size > 1000) return asked.hold();  // the next step: nobody waits for it
        asked.chunk("{\"aux\":{\"ID\":\"sha256:1\"}}\n");
        asked.end_stream();
    });
    size = 1001;
    CHECK(build_with(engine, 1000) == "too_large");
    size = 1000;
    CHECK(build_with(engine, 1000) == "");
}

TEST_CASE("a port that only the instance's loopback may have is said to be out of reach") {
    const Fd taken(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(taken.get(), raw, size) == 0);  // bound and not listening: nobody answers
    REQUIRE(::getsockname(taken.get(), raw, &size) == 0);
    // This process is in no such container, so its network is not entered.
    CHECK_THROWS_WITH(connect_inside(Patience::for_cleanup(5s), "0123456789abcdef", ::getpid(), "127.0.0.1",
                                     ntohs(address.sin_port)),
                      Catch::Contains("CAP_SYS_ADMIN") || Catch::Contains("out of reach"));
}
