#include "tests/unit/plugins/docker/live.hpp"

#include "plugins/docker/exec.hpp"
#include "plugins/docker/runtime.hpp"
#include "tests/unit/plugins/support.hpp"

#include <catch2/catch.hpp>
#include <sys/socket.h>

#include <csignal>

using namespace minions;
using namespace minions::docker;
using namespace minions::docker::test;
using namespace minions::test;

TEST_CASE("a container lives from create to destroy", "[live]") {
    Live live;
    TestContext ctx;
    auto instance = live.instance("sleep", "1000");
    instance.spec.ports = {{8080, "tcp", "127.0.0.1", 0}};
    instance.spec.cpus = 1;
    instance.spec.memory_mb = 64;
    instance.spec.labels = {{"team", "a"}};
    instance.state = live.runtime.create(ctx, instance);
    CHECK(ctx.rows.rows() == std::set<TestJournal::Row>{{"container", instance.id}});
    CHECK(live.runtime.inspect(ctx, instance).status == Status::stopped);

    const auto started = live.runtime.start(ctx, instance);
    CHECK(started.status == Status::running);
    CHECK(started.ip);
    CHECK(started.pid.value_or(0) > 1);
    CHECK(started.ports.at("8080/tcp") > 0);
    CHECK(started.handle == instance.state->data["container"].string_or(""));

    const Value document = live.document(instance);
    CHECK(document["Name"].string_or("") == "/" + instance.name);
    CHECK(document["Config"]["Labels"]["team"].string_or("") == "a");
    CHECK(document["HostConfig"]["Init"].bool_or(false));
    CHECK(document["HostConfig"]["Memory"].int_or(0) == 64 << 20);
    CHECK(document["HostConfig"]["SecurityOpt"].if_array()->front().string_or("") == "no-new-privileges");

    CHECK(live.runtime.stop(ctx, instance, 5s).exit_code == 143);
    CHECK(live.runtime.stop(ctx, instance, 5s).status == Status::stopped);
    CHECK(live.runtime.start(ctx, instance).status == Status::running);
    live.runtime.kill(ctx, instance);
    live.runtime.kill(ctx, instance);
    CHECK(live.runtime.inspect(ctx, instance).exit_code == 137);

    live.runtime.destroy(ctx, instance);
    live.runtime.destroy(ctx, instance);
    CHECK(ctx.rows.rows().empty());
    CHECK(code_thrown([&] { live.runtime.inspect(ctx, instance); }) == "not_found");
}

TEST_CASE("a container that ends within its start is a normal return", "[live]") {
    Live live;
    TestContext ctx;
    auto instance = live.created(ctx, "sh", "-c", "exit 3");
    live.runtime.start(ctx, instance);
    REQUIRE(live.eventually([&] { return live.runtime.inspect(ctx, instance).exit_code == 3; }));
    auto missing = live.created(ctx, "no-such-program");
    live.runtime.start(ctx, missing);
    REQUIRE(live.eventually([&] { return live.runtime.inspect(ctx, missing).exit_code == 127; }));
}

TEST_CASE("what create refuses", "[live]") {
    Live live;
    TestContext ctx;
    auto instance = live.instance("true");
    SECTION("an image that nobody has") {
        instance.spec.image = "minions-no-such-image:1";
        // Where the tests run, no registry is in reach.
        CHECK(code_thrown([&] { live.runtime.create(ctx, instance); }) == "unavailable");
    }
    SECTION("a label of ours") {
        instance.spec.labels = {{"minions.instance", "x"}};
        CHECK(code_thrown([&] { live.runtime.create(ctx, instance); }) == "invalid");
        CHECK(ctx.rows.rows().empty());
    }
    SECTION("more CPUs than there are") {
        if (live.lacks("cpus")) return;
        instance.spec.cpus = 512;
        CHECK_THROWS_WITH(live.runtime.create(ctx, instance), Catch::Contains("field 'cpus'"));
    }
    SECTION("a name that a stranger's container has") {
        const auto stranger = live.make_stranger(instance.name);
        CHECK_THROWS_WITH(live.runtime.create(ctx, instance), Catch::Contains(stranger.substr(0, 12)));
        live.runtime.destroy(ctx, instance);
        CHECK(live.exists(stranger));
        live.remove_stranger(stranger);
    }
    SECTION("but not a name that another owner's instance has") {
        instance.state = live.runtime.create(ctx, instance);
        auto other = live.instance("true");
        other.name = instance.name;
        other.state = live.runtime.create(ctx, other);
        CHECK(instance.state->data != other.state->data);
        live.runtime.destroy(ctx, other);
    }
    SECTION("a port that is taken fails the start, and the instance is dead") {
        const Fd taken(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const int port = live.listen_on_loopback(taken);
        instance.spec.command = {"sleep", "1000"};
        instance.spec.ports = {{80, "tcp", "127.0.0.1", port}};
        instance.state = live.runtime.create(ctx, instance);
        CHECK(code_thrown([&] { live.runtime.start(ctx, instance); }) == "conflict");
        CHECK(live.runtime.inspect(ctx, instance).status == Status::stopped);
    }
    live.runtime.destroy(ctx, instance);
}

TEST_CASE("exec carries streams, codes and what went wrong", "[live]") {
    Live live;
    TestContext ctx;
    auto instance = live.running(ctx, "sleep", "1000");
    SECTION("both streams apart, and the exit code") {
        const auto done = live.exec(ctx, instance, command("sh", {"-c", "echo out; echo err >&2; exit 7"}));
        CHECK(done.out == "out\n");
        CHECK(done.err == "err\n");
        CHECK(done.end.exit_code == 7);
        CHECK_FALSE(done.end.signal);
    }
    SECTION("standard input to its end") {
        const std::string input(3 << 20, 'x');
        const auto done = live.exec(ctx, instance, command("wc", {"-c"}), input);
        CHECK(done.out == std::to_string(input.size()) + "\n");
    }
    SECTION("input that the command does not read") {
        CHECK(live.exec(ctx, instance, command("true"), std::string(3 << 20, 'x')).end.exit_code == 0);
    }
    SECTION("env, cwd and user") {
        ExecSpec spec = command("sh", {"-c", "echo $A; pwd; id -u"});
        spec.env = {{"A", "b c"}};
        spec.cwd = "/tmp";
        spec.user = "12";
        CHECK(live.exec(ctx, instance, spec).out == "b c\n/tmp\n12\n");
        spec.user = "nobody-knows";
        CHECK(code_thrown([&] { live.exec(ctx, instance, spec); }) == "invalid");
        spec.user.reset();
        spec.cwd = "/nowhere";
        CHECK(code_thrown([&] { live.exec(ctx, instance, spec); }) == "invalid");
    }
    SECTION("what cannot be found or executed") {
        const auto missing = live.exec(ctx, instance, command("no-such-command"));
        CHECK(missing.end.exit_code == 127);
        CHECK(missing.err == "no-such-command: command not found\n");
        CHECK(missing.out.empty());
        CHECK(live.exec(ctx, instance, command("/no/such")).end.exit_code == 127);
        CHECK(live.exec(ctx, instance, command("/etc/passwd")).end.exit_code == 126);
    }
    SECTION("output that looks like the engine's own message is the command's") {
        const auto done = live.exec(ctx, instance, command("printf", {"OCI runtime exec failed"}));
        CHECK(done.out == "OCI runtime exec failed");
        CHECK(done.end.exit_code == 0);
        const auto apart =
            live.exec(ctx, instance, command("sh", {"-c", "echo unable to find user bob >&2"}));
        CHECK(apart.out.empty());
        CHECK(apart.err == "unable to find user bob\n");
    }
    SECTION("more output than any buffer") {
        const auto done = live.exec(ctx, instance, command("sh", {"-c", "head -c 20000000 /dev/zero"}));
        CHECK(done.out.size() == 20000000);
    }
    SECTION("a command that goes on after closing its output") {
        const auto done = live.exec(ctx, instance, command("sh", {"-c", "exec >&- 2>&-; sleep 0.3; exit 4"}));
        CHECK(done.end.exit_code == 4);
    }
    SECTION("a command that goes on after closing its output, and is signalled") {
        auto control = make_socketpair(SOCK_SEQPACKET);
        auto out = make_pipe();
        ExecStreams streams;
        streams.output = std::move(out.second);
        streams.control = std::move(control.second);
        Collected output(std::move(out.first));
        std::thread sender([&] {
            live.eventually([&] {
                return live.exec(ctx, instance, command("test", {"-e", "/closed"})).end.exit_code == 0;
            });
            const std::string message = R"({"signal":15})";
            CHECK(::send(control.first.get(), message.data(), message.size(), 0) > 0);
        });
        const auto spec = command("sh", {"-c", "exec >&- 2>&-; touch /closed; sleep 600"});
        CHECK(live.runtime.exec(ctx, instance, spec, std::move(streams)).signal == SIGTERM);
        sender.join();
    }
    SECTION("a terminal") {
        ExecSpec spec = command("sh", {"-c", "stty size; test -t 0 && echo yes; echo err >&2"});
        spec.tty = true;
        spec.rows = 33;
        spec.columns = 77;
        // The size is applied once the process runs.
        spec.args[1] = "for i in $(seq 100); do [ \"$(stty size)\" = '33 77' ] && break; sleep 0.05; done; " +
                       spec.args[1];
        const auto done = live.exec(ctx, instance, spec, "");
        CHECK(done.out == "33 77\r\nyes\r\nerr\r\n");
    }
    SECTION("not in an instance that is stopped") {
        live.runtime.kill(ctx, instance);
        CHECK(code_thrown([&] { live.exec(ctx, instance, command("true")); }) == "wrong_state");
    }
}

TEST_CASE("an exec is killed with its whole group", "[live]") {
    Live live;
    TestContext ctx;
    auto instance = live.running(ctx, "sleep", "1000");
    auto out = make_pipe();
    const ExecSpec spec = command("sh", {"-c", "sleep 4242 & sleep 4243 & echo ready; wait"});
    const auto sleepers = [&] {
        return live.exec(ctx, instance, command("sh", {"-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"})).out;
    };
    const auto none_left = [&] { return sleepers().find("sleep 424") == std::string::npos; };
    TestContext call;
    ExecStreams streams;
    streams.output = std::move(out.second);
    SECTION("when the call is cancelled") {
        Collected output(std::move(out.first));
        std::thread canceller([&] {
            output.saw("ready");
            call.cancel();
        });
        CHECK(code_thrown([&] { live.runtime.exec(call, instance, spec, std::move(streams)); }) ==
              "cancelled");
        canceller.join();
        CHECK(none_left());
    }
    SECTION("when its deadline passes") {
        Collected output(std::move(out.first));
        TestContext brief(1500ms);
        CHECK(code_thrown([&] { live.runtime.exec(brief, instance, spec, std::move(streams)); }) ==
              "deadline");
        CHECK(none_left());
    }
    SECTION("when its reader goes away") {
        std::thread reader([fd = std::move(out.first)]() mutable {
            char byte = 0;
            CHECK(::read(fd.get(), &byte, 1) == 1);
            fd.reset();
        });
        const auto end = live.runtime.exec(call, instance, spec, std::move(streams));
        reader.join();
        CHECK(end.signal == SIGKILL);
        CHECK(none_left());
    }
    SECTION("or gets the signal that is asked for") {
        auto control = make_socketpair(SOCK_SEQPACKET);
        streams.control = std::move(control.second);
        Collected output(std::move(out.first));
        std::thread sender([&] {
            output.saw("ready");
            const std::string message = R"({"signal":15})";
            CHECK(::send(control.first.get(), message.data(), message.size(), 0) > 0);
        });
        const auto end = live.runtime.exec(call, instance, spec, std::move(streams));
        sender.join();
        CHECK(end.signal == SIGTERM);
        CHECK(none_left());
    }
}

TEST_CASE("logs, files, forward, pause, resize and stats", "[live]") {
    Live live;
    TestContext ctx;
    SECTION("logs") {
        // The engine reads the two streams apart: only what it has logged before comes before.
        auto instance = live.running(
            ctx, "sh", "-c",
            "for i in 1 2 3; do echo $i; done; until [ -e /go ]; do sleep 0.02; done; echo e >&2");
        REQUIRE(live.eventually([&] { return live.logs(ctx, instance, {}) == "1\n2\n3\n"; }));
        live.exec(ctx, instance, command("touch", {"/go"}));
        REQUIRE(
            live.eventually([&] { return live.runtime.inspect(ctx, instance).status == Status::stopped; }));
        CHECK(live.logs(ctx, instance, {}) == "1\n2\n3\ne\n");
        CHECK(live.logs(ctx, instance, {2, false}) == "3\ne\n");
        CHECK(live.logs(ctx, instance, {std::nullopt, true}) == "1\n2\n3\ne\n");
    }
    SECTION("following ends when the reader closes") {
        auto instance = live.running(ctx, "sleep", "1000");
        auto pipe = make_pipe();
        pipe.first.reset();
        live.runtime.logs(ctx, instance, {std::nullopt, true}, std::move(pipe.second));
    }
    SECTION("files") {
        auto instance = live.running(ctx, "sleep", "1000");
        const std::string tar = live.read_files(ctx, instance, "/etc/hostname");
        CHECK(tar.substr(0, 8) == "hostname");
        live.write_files(ctx, instance, "/tmp", tar);
        CHECK(live.exec(ctx, instance, command("cat", {"/tmp/hostname"})).out ==
              live.exec(ctx, instance, command("cat", {"/etc/hostname"})).out);
        CHECK(code_thrown([&] { live.read_files(ctx, instance, "/no/such"); }) == "not_found");
        if (!live.lacks("unpacking into nothing")) {
            CHECK(code_thrown([&] { live.write_files(ctx, instance, "/no/such", tar); }) == "not_found");
        }
        CHECK(code_thrown([&] { live.write_files(ctx, instance, "/etc/passwd", tar); }) == "invalid");
        CHECK(code_thrown([&] { live.read_files(ctx, instance, "etc"); }) == "invalid");
    }
    SECTION("forward reaches what listens on the loopback alone") {
        auto instance = live.running(ctx, "python3", "-u", "-c",
                                     "import socket; s=socket.create_server(('127.0.0.1',8123)); print('up');"
                                     "c,a=s.accept(); c.sendall(b'hi '+c.recv(9)); c.close(); s.accept()");
        REQUIRE(live.eventually([&] { return live.logs(ctx, instance, {}) == "up\n"; }));
        const Fd stream = live.runtime.forward(ctx, instance, 8123);
        put(stream.get(), "you");
        char answer[16] = {};
        CHECK(read_exact(stream.get(), answer, 6));
        CHECK(std::string(answer) == "hi you");
        CHECK(code_thrown([&] { live.runtime.forward(ctx, instance, 1); }) == "unavailable");
    }
    SECTION("pause and resume, repeated") {
        auto instance = live.running(ctx, "sleep", "1000");
        CHECK(live.runtime.pause(ctx, instance).status == Status::paused);
        CHECK(live.runtime.pause(ctx, instance).status == Status::paused);
        CHECK(code_thrown([&] { live.exec(ctx, instance, command("true")); }) == "wrong_state");
        CHECK(live.runtime.resume(ctx, instance).status == Status::running);
        CHECK(live.runtime.resume(ctx, instance).status == Status::running);
        live.runtime.pause(ctx, instance);
        CHECK(live.runtime.stop(ctx, instance, 5s).status == Status::stopped);
        CHECK(code_thrown([&] { live.runtime.pause(ctx, instance); }) == "wrong_state");
    }
    SECTION("resize") {
        if (live.lacks("resize")) {
            CHECK(live.runtime.health(ctx).missing.contains("resize"));
            return;
        }
        auto instance = live.running(ctx, "sleep", "1000");
        live.runtime.resize(ctx, instance, {1, 128, std::nullopt});
        CHECK(live.document(instance)["HostConfig"]["Memory"].int_or(0) == 128 << 20);
        CHECK(live.document(instance)["HostConfig"]["NanoCpus"].int_or(0) == 1'000'000'000);
        CHECK_THROWS_WITH(live.runtime.resize(ctx, instance, {512, 64, std::nullopt}),
                          Catch::Contains("field 'cpus'"));
        CHECK(live.document(instance)["HostConfig"]["Memory"].int_or(0) == 128 << 20);
        CHECK_THROWS_WITH(live.runtime.resize(ctx, instance, {std::nullopt, std::nullopt, 5}),
                          Catch::Contains("field 'disk_gb'"));
    }
    SECTION("stats") {
        auto instance = live.running(ctx, "sh", "-c", "while :; do :; done");
        const Stats first = live.runtime.stats(ctx, instance);
        CHECK(first.cpu_usage_percent.value_or(0) > 10);
        CHECK(first.memory_used_mb);
        CHECK(first.memory_total_mb.value_or(0) > 0);
        CHECK(first.uptime_secs.value_or(-1) >= 0);
        CHECK(first.network_rx_bytes);
        CHECK(first.hostname);
        live.runtime.kill(ctx, instance);
        CHECK(code_thrown([&] { live.runtime.stats(ctx, instance); }) == "wrong_state");
    }
}

TEST_CASE("core hears of what happens outside of its calls", "[live]") {
    Live live;
    TestContext ctx;
    live.runtime.recovered(ctx);
    REQUIRE(live.host.saw_health_changes(1));
    auto instance = live.running(ctx, "sleep", "1000");
    const auto of = [&](auto check) {
        return [&, check](const InstanceEvent& event) {
            return event.instance == instance.id && event.boot == instance.boot && check(event.facts);
        };
    };
    live.raw("POST", "/containers/" + live.container(instance) + "/pause");
    CHECK(live.host.saw(of([](const auto& facts) { return facts.status == Status::paused; })));
    live.raw("POST", "/containers/" + live.container(instance) + "/kill");
    CHECK(live.host.saw(of([](const auto& facts) { return facts.exit_code == 137; })));
    live.raw("DELETE", "/containers/" + live.container(instance));
    CHECK(live.host.saw(of([](const auto& facts) {
        return facts.status == Status::error &&
               facts.reason.value_or("").find("removed outside") != std::string::npos;
    })));
}

TEST_CASE("a daemon that starts again hears of each instance", "[live]") {
    Live live;
    TestContext ctx;
    auto running = live.running(ctx, "sleep", "1000");
    auto ended = live.running(ctx, "sh", "-c", "exit 5");
    auto removed = live.created(ctx, "true");
    REQUIRE(live.eventually([&] { return live.runtime.inspect(ctx, ended).exit_code == 5; }));
    live.raw("DELETE", "/containers/" + live.container(removed));

    TestHost host(live.host.installation());
    DockerRuntime again(host, live.config());
    for (const auto* instance : {&running, &ended, &removed}) CHECK_FALSE(again.recover(ctx, *instance));
    again.recovered(ctx);
    CHECK(host.saw([&](const auto& event) {
        return event.instance == running.id && event.boot == running.boot && event.facts.pid &&
               event.facts.ip;
    }));
    CHECK(host.saw(
        [&](const auto& event) { return event.instance == ended.id && event.facts.exit_code == 5; }));
    CHECK(host.saw([&](const auto& event) {
        return event.instance == removed.id && event.facts.status == Status::error;
    }));
}

TEST_CASE("a build makes an image or leaves nothing", "[live]") {
    Live live;
    TestContext ctx;
    const std::string tag = live.unique("minions-build") + ":1";
    const auto before = live.images();
    SECTION("the image, its log and its labels") {
        const auto built =
            live.build(ctx, tag, "FROM python:3.11-slim\nRUN echo hello >&2\nCMD [\"true\"]\n");
        if (!live.lacks("step lines")) {
            CHECK(built.log.find("Step 2/4 : RUN echo hello") != std::string::npos);
        }
        CHECK(built.log.find("\nhello\n") != std::string::npos);
        CHECK(ctx.rows.rows() == std::set<TestJournal::Row>{{"image", tag}});
        auto instance = live.instance();
        instance.spec.image = built.image;
        instance.state = live.runtime.create(ctx, instance);
        CHECK(code_thrown([&] { live.runtime.remove_image(ctx, tag); }) == "conflict");
        live.runtime.destroy(ctx, instance);
        live.runtime.remove_image(ctx, tag);
        live.runtime.remove_image(ctx, tag);
    }
    SECTION("a step that fails") {
        const std::string text =
            "FROM python:3.11-slim\nRUN echo one " + tag + "\nRUN echo why >&2; exit 3\n";
        try {
            live.build(ctx, tag, text);
            FAIL("the build succeeded");
        } catch (const Error& error) {
            CHECK(error.code() == Code::failed);
            CHECK(error.details()["log"].string_or("").find("why\n") != std::string::npos);
        }
        CHECK(ctx.rows.rows().empty());
    }
    SECTION("a Dockerfile that makes no sense") {
        CHECK(code_thrown([&] { live.build(ctx, tag, "FROM python:3.11-slim\nFOO\n"); }) == "failed");
        CHECK(ctx.rows.rows().empty());
    }
    SECTION("a build that is cancelled") {
        const std::string text =
            "FROM python:3.11-slim\nRUN echo one " + tag + "\nRUN echo mark; sleep 100\n";
        CHECK(code_thrown([&] { live.build(ctx, tag, text, "mark\n"); }) == "cancelled");
        CHECK(ctx.rows.rows().empty());
        CHECK(live.eventually(
            [&] { return live.raw("GET", "/containers/json?all=1").document().if_array()->empty(); }));
    }
    SECTION("an image that is not ours stays") {
        CHECK(code_thrown([&] { live.runtime.remove_image(ctx, "python:3.11-slim"); }) == "conflict");
        live.runtime.release(ctx, {1, "", "image", "python:3.11-slim", true});
    }
    CHECK(live.images() == before);
}

TEST_CASE("an image's health check reaches core", "[live]") {
    Live live;
    if (live.lacks("health checks")) return;
    TestContext ctx;
    live.runtime.recovered(ctx);
    REQUIRE(live.host.saw_health_changes(1));
    const std::string tag = live.unique("minions-health") + ":1";
    live.build(ctx, tag, "FROM python:3.11-slim\nHEALTHCHECK --interval=1s CMD true\n");
    auto instance = live.instance("sleep", "1000");
    instance.spec.image = tag;
    instance.boot = 4;
    instance.state = live.runtime.create(ctx, instance);
    live.runtime.start(ctx, instance);
    CHECK(live.host.saw([&](const auto& event) {
        return event.instance == instance.id && event.boot == 4 && event.facts.health == "healthy";
    }));
    live.runtime.destroy(ctx, instance);
    live.runtime.remove_image(ctx, tag);
}
