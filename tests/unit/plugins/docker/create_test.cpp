#include "plugins/docker/runtime.hpp"
#include "tests/unit/plugins/docker/fake_engine.hpp"
#include "tests/unit/plugins/support.hpp"

#include <catch2/catch.hpp>

#include <atomic>

using namespace minions;
using namespace minions::docker;
using namespace minions::docker::test;
using namespace minions::test;

TEST_CASE("a create whose answer is lost is found by its labels") {
    FakeEngine engine([](const Asked& asked) {
        if (has(asked.target, "/containers/create")) return;  // made, and the connection dies
        if (has(asked.target, "/containers/json")) asked.answer(200, element("created", "Created"));
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK(runtime.create(ctx, an_instance()).data["container"].string_or("") == id);
}

TEST_CASE("a create that was lost altogether is unavailable, and journalled") {
    FakeEngine engine([](const Asked& asked) {
        if (has(asked.target, "/containers/json")) asked.answer(200, "[]");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK(code_thrown([&] { runtime.create(ctx, an_instance()); }) == "unavailable");
    CHECK(ctx.rows.rows().size() == 1);
}

TEST_CASE("a name that a stranger has is a conflict, and the stranger is left alone") {
    FakeEngine engine([](const Asked& asked) {
        if (has(asked.target, "/containers/create"))
            return asked.answer(409, R"({"message":"Conflict. \"/one\""})");
        if (has(asked.target, "/containers/json")) return asked.answer(200, "[]");
        asked.answer(200, R"({"Id":"feedfacefeedface","Config":{"Labels":null}})");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK_THROWS_WITH(runtime.create(ctx, an_instance()), Catch::Contains("feedfacefeed"));
    for (const auto& line : engine.asked()) CHECK_FALSE(line.starts_with("DELETE"));
}

TEST_CASE("a name that Podman says is taken is ours if an earlier attempt of ours took it") {
    std::atomic<bool> ours{false};
    FakeEngine engine([&](const Asked& asked) {
        if (has(asked.target, "/containers/create")) {
            return asked.answer(500, R"({"message":"the container name \"one\" is already in use by 01"})");
        }
        if (has(asked.target, "/containers/json")) {
            return asked.answer(200, ours ? element("created", "Created") : "[]");
        }
        asked.answer(200, R"({"Id":"feedfacefeedface","Config":{"Labels":null}})");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK(code_thrown([&] { runtime.create(ctx, an_instance()); }) == "conflict");
    ours = true;
    CHECK(runtime.create(ctx, an_instance()).data["container"].string_or("") == id);
}

TEST_CASE("an image that the engine lacks is pulled once, and the container made from it") {
    std::atomic<bool> pulled{false};
    FakeEngine engine([&](const Asked& asked) {
        if (has(asked.target, "/images/create")) {
            pulled = true;
            asked.begin_stream();
            asked.chunk(
                R"({"status":"Pulling fs layer","id":"ab","progressDetail":{"current":1,"total":9}})");
            asked.chunk("\n{\"status\":\"Digest: sha256:1\"}\n");
            return asked.end_stream();
        }
        if (pulled) return asked.answer(201, R"({"Id":"0123456789abcdef"})");
        asked.answer(404, R"({"message":"No such image: image:latest"})");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK(runtime.create(ctx, an_instance()).data["container"].string_or("") == id);
    const auto progressed = *ctx.progressed.lock();
    CHECK(std::any_of(progressed.begin(), progressed.end(), [](const Progress& progress) {
        return progress.message == "ab: Pulling fs layer" && progress.done == 1 && progress.total == 9;
    }));
}

TEST_CASE("why an image cannot be had") {
    struct Case {
        int status;  // of the pull; 200: said in its stream
        const char* said;
        const char* code;
    };
    const auto [status, said, code] = GENERATE(
        Case{404, "pull access denied for image, repository does not exist or may require login",
             "not_found"},
        Case{200, "manifest for image:latest not found: manifest unknown", "not_found"},
        Case{500, "Get https://registry-1.docker.io/v2/: dial tcp: lookup registry-1.docker.io: no such host",
             "unavailable"},
        Case{200, "net/http: TLS handshake timeout", "unavailable"},
        Case{200, "failed to register layer: write /usr/lib/x: no space left on device", "no_space"},
        Case{500, "open /var/lib/docker/tmp/x: no space left on device", "no_space"},
        Case{503, "the engine is starting", "unavailable"}, Case{200, nullptr, "not_found"});
    CAPTURE(said);
    const std::string text = said == nullptr ? "" : said;
    FakeEngine engine([&, answer = status](const Asked& asked) {
        if (!has(asked.target, "/images/create")) return asked.answer(404, R"({"message":"No such image"})");
        if (answer != 200) return asked.answer(answer, R"({"message":")" + text + R"("})");
        asked.begin_stream();
        if (!text.empty()) asked.chunk(R"({"error":")" + text + "\"}\n");
        asked.end_stream();
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK(code_thrown([&] { runtime.create(ctx, an_instance()); }) == code);
}

TEST_CASE("a pull whose engine dies in the middle is unavailable, and not a missing image") {
    FakeEngine engine([&](const Asked& asked) {
        if (!has(asked.target, "/images/create")) return asked.answer(404, R"({"message":"No such image"})");
        asked.begin_stream();
        asked.chunk("{\"status\":\"Pulling\"}\n");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK(code_thrown([&] { runtime.create(ctx, an_instance()); }) == "unavailable");
}

TEST_CASE("why a container does not start") {
    struct Case {
        int status;
        const char* said;
        const char* code;
    };
    const auto [status, said, code] = GENERATE(
        Case{500, "error creating overlay mount: no space left on device", "no_space"},
        Case{503, "the engine is starting", "unavailable"},
        Case{500, "driver failed: Bind for 127.0.0.1:80 failed: port is already allocated", "conflict"},
        Case{404, "No such container: 01", "not_found"}, Case{400, "OCI runtime create failed", "failed"});
    CAPTURE(said);
    FakeEngine engine([&, answer = status, text = std::string(said)](const Asked& asked) {
        asked.answer(has(asked.target, "/start") ? answer : 204, R"({"message":")" + text + R"("})");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK(code_thrown([&] { runtime.start(ctx, with_container()); }) == code);
}

TEST_CASE("what cannot be read does not count as absent") {
    std::string unreadable;
    SECTION("a list") { unreadable = R"({"message":"surprise"})"; }
    SECTION("no JSON at all") { unreadable = "<html>"; }
    FakeEngine engine([&](const Asked& asked) { asked.answer(200, unreadable); });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    ctx.rows.intend("container", "inst1")->held();
    CHECK(code_thrown([&] { runtime.destroy(ctx, an_instance()); }) == "internal");
    CHECK(code_thrown([&] { runtime.release(ctx, {1, "", "container", "inst1", true}); }) == "internal");
    CHECK(ctx.rows.rows().size() == 1);
}
