#include "plugins/docker/runtime.hpp"
#include "tests/unit/plugins/docker/fake_engine.hpp"
#include "tests/unit/plugins/support.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <functional>
#include <optional>

using namespace minions;
using namespace minions::docker;
using namespace minions::docker::test;
using namespace minions::test;

TEST_CASE("an exec whose engine dies is unavailable at once") {
    FakeEngine engine([](const Asked& asked) {
        if (has(asked.target, "/start")) {
            return asked.raw("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
        }
        if (asked.method == "POST") asked.answer(201, R"({"Id":"e1"})");
    });
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK(code_thrown([&] { runtime.exec(ctx, with_container(), command("true"), {}); }) == "unavailable");
}

namespace {

constexpr const char* upgraded = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

std::string frame(char stream, const std::string& payload) {
    return std::string{stream, 0, 0, 0, 0, 0, 0, static_cast<char>(payload.size())} + payload;
}

/// An engine whose exec "e1" goes as `start` has it and then has `record`.
FakeEngine::Script exec_script(std::function<void(const Asked&)> start, std::string record) {
    return [start = std::move(start), record = std::move(record)](const Asked& asked) {
        if (has(asked.target, "/start")) return start(asked);
        if (asked.method == "POST") return asked.answer(201, R"({"Id":"e1"})");
        asked.answer(200, record);
    };
}

bool was_asked(const FakeEngine& engine, const std::string& request) {
    const auto asked = engine.asked();
    return std::find(asked.begin(), asked.end(), request) != asked.end();
}

}  // namespace

TEST_CASE("an engine that goes away before an exec starts is no missing command") {
    FakeEngine* self = nullptr;
    FakeEngine engine([&](const Asked& asked) {
        // The next connection finds no socket: the client's own words are then "No such file or directory".
        ::unlink(self->socket().c_str());
        asked.answer(201, R"({"Id":"e1"})");
    });
    self = &engine;
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK(code_thrown([&] { runtime.exec(ctx, with_container(), command("true"), {}); }) == "unavailable");
}

TEST_CASE("what an engine answers to an exec in a container that has stopped") {
    TestHost host("here");
    TestContext ctx;
    int status = 409;
    std::string message = "Container 0123 is not running";
    SECTION("when the exec is made") {}
    SECTION("when the exec is made, by Podman") {
        status = 500;
        message = "can only create exec sessions on running containers: container state improper";
    }
    const std::string refusal = R"({"message":")" + message + R"("})";
    FakeEngine engine([&](const Asked& asked) { asked.answer(status, refusal); });
    DockerRuntime runtime(host, config_for(engine));
    CHECK(code_thrown([&] { runtime.exec(ctx, with_container(), command("true"), {}); }) == "wrong_state");
}

TEST_CASE("what an engine answers to the start of an exec") {
    int status = 500;
    std::string message;
    std::string code;
    std::optional<int> exit_code;
    SECTION("in a container that stopped meanwhile") {
        message = "OCI runtime exec failed: exec failed: cannot exec in a stopped container: unknown";
        code = "wrong_state";
    }
    SECTION("of a command that is not there") {
        message = "OCI runtime exec failed: exec failed: exec: \\\"x\\\": executable file not found in $PATH";
        exit_code = 127;
    }
    SECTION("when it is not ready") {
        status = 503;
        message = "starting";
        code = "unavailable";
    }
    FakeEngine engine(exec_script(
        [&](const Asked& asked) { asked.answer(status, R"({"message":")" + message + R"("})"); }, "{}"));
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    ExecEnd end;
    CHECK(code_thrown([&] { end = runtime.exec(ctx, with_container(), command("x"), {}); }) == code);
    CHECK(end.exit_code == exit_code);
}

TEST_CASE("output that could be the engine's own message stays on its stream") {
    const std::string text = "unable to find user bob\n";
    FakeEngine engine(exec_script([&](const Asked& asked) { asked.raw(upgraded + frame(2, text)); },
                                  R"({"Running":false,"ExitCode":1,"Pid":7})"));
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    auto out = make_pipe();
    auto err = make_pipe();
    ExecStreams streams;
    streams.output = std::move(out.second);
    streams.error = std::move(err.second);
    CHECK(runtime.exec(ctx, with_container(), command("sh"), std::move(streams)).exit_code == 1);
    CHECK(Collected(std::move(out.first)).text().empty());
    CHECK(Collected(std::move(err.first)).text() == text);
}

TEST_CASE("an exec that is given up while it starts is looked for and killed") {
    // A pid of no process of the container: there is nobody to signal, and the look is what counts.
    FakeEngine engine(
        exec_script([](const Asked& asked) { asked.hold(); }, R"({"Running":true,"ExitCode":null,"Pid":1})"));
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext brief(300ms);
    CHECK(code_thrown([&] { runtime.exec(brief, with_container(), command("sleep"), {}); }) == "deadline");
    CHECK(was_asked(engine, "GET /v1.41/exec/e1/json"));
}

TEST_CASE("a command that closed its output and goes on ends with its reader") {
    FakeEngine engine(exec_script([](const Asked& asked) { asked.raw(upgraded); },
                                  R"({"Running":true,"ExitCode":null,"Pid":1})"));
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx(10s);
    auto out = make_pipe();
    ExecStreams streams;
    streams.output = std::move(out.second);
    std::thread reader([&, fd = std::move(out.first)]() mutable {
        while (!was_asked(engine, "GET /v1.41/exec/e1/json")) poll_until(nullptr, 0, deadline_in(1ms));
        fd.reset();
    });
    ExecEnd end;
    CHECK(code_thrown(
              [&] { end = runtime.exec(ctx, with_container(), command("sh"), std::move(streams)); }) == "");
    reader.join();
    CHECK(end.signal == SIGKILL);
}

TEST_CASE("a stream that is cut inside a frame is not a whole output") {
    FakeEngine engine(
        exec_script([](const Asked& asked) { asked.raw(upgraded + frame(1, "abc").substr(0, 9)); },
                    R"({"Running":false,"ExitCode":0,"Pid":7})"));
    TestHost host("here");
    DockerRuntime runtime(host, config_for(engine));
    TestContext ctx;
    CHECK(code_thrown([&] { runtime.exec(ctx, with_container(), command("sh"), {}); }) == "unavailable");
}
