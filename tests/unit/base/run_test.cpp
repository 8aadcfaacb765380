#include <minions/base/event_fd.hpp>
#include <minions/base/spawn.hpp>

#include <catch2/catch.hpp>
#include <signal.h>

#include <stdexcept>
#include <thread>

using namespace minions;
using namespace std::chrono_literals;

namespace {

SpawnOptions shell(const std::string& script) {
    SpawnOptions options;
    options.argv = {"/bin/sh", "-c", script};
    options.env = {"PATH=/usr/bin:/bin"};
    return options;
}

}  // namespace

TEST_CASE("run collects both outputs and the exit code") {
    const RunResult result = run(shell("echo out; echo err >&2; exit 4"), {});
    CHECK(result.end == RunEnd::exited);
    CHECK(result.status.code == 4);
    CHECK_FALSE(result.success());
    CHECK(result.out == "out\n");
    CHECK(result.err == "err\n");
}

TEST_CASE("run collects all of an output larger than a pipe") {
    const RunResult result = run(shell("head -c 1000000 /dev/zero"), {});
    CHECK(result.success());
    CHECK(result.out.size() == 1000000);
}

TEST_CASE("a run ends at its deadline with everything in its group") {
    RunLimits limits;
    limits.deadline = deadline_in(200ms);
    const RunResult result = run(shell("echo before; sleep 1000 & sleep 1000"), limits);
    CHECK(result.end == RunEnd::deadline);
    CHECK(result.status.signal == SIGKILL);
    CHECK(result.out == "before\n");

    limits.deadline = deadline_in(100ms);
    limits.max_output_bytes = SIZE_MAX;
    CHECK(run(shell("exec cat /dev/zero"), limits, [](Output, std::string_view) {}).end == RunEnd::deadline);
}

TEST_CASE("a run ends when it is cancelled") {
    EventFd cancel;
    RunLimits limits;
    limits.cancel_fd = cancel.fd();
    const RunResult result =
        run(shell("echo ready; exec sleep 1000"), limits, [&](Output, std::string_view piece) {
            CHECK(piece == "ready\n");
            cancel.raise();
        });
    CHECK(result.end == RunEnd::cancelled);
    CHECK(result.status.signal == SIGKILL);
    CHECK(cancel.raised());
    cancel.clear();
    CHECK_FALSE(cancel.raised());
}

TEST_CASE("a run ends when it writes more than allowed, and keeps what was") {
    RunLimits limits;
    limits.max_output_bytes = 10;
    const RunResult result = run(shell("exec cat /dev/zero"), limits);
    CHECK(result.end == RunEnd::too_much_output);
    CHECK(result.out.size() == 10);
    CHECK(run(shell("printf 0123456789"), limits).success());
    CHECK(run(shell("printf 0123456789a"), limits).end == RunEnd::too_much_output);
}

TEST_CASE("a run does not wait for background processes that keep its pipes") {
    const RunResult result = run(shell("echo done; sleep 1000 & setsid sleep 3 & exit 0"), {});
    CHECK(result.success());
    CHECK(result.out == "done\n");
}

TEST_CASE("a sink that throws ends the run") {
    const auto sink = [](Output, std::string_view) { throw std::runtime_error("enough"); };
    CHECK_THROWS_WITH(run(shell("echo x; exec sleep 1000"), {}, sink), "enough");
}
