#include "plugins/docker/engine.hpp"
#include "tests/unit/plugins/docker/live.hpp"

#include <catch2/catch.hpp>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>

using namespace minions;
using namespace minions::docker;
using namespace minions::docker::test;

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_of(const std::function<void()>& action) {
    const auto before = Clock::now();
    action();
    return std::chrono::duration<double, std::milli>(Clock::now() - before).count();
}

/// What a client that knows only the API has to do for one command: create, start, read, inspect.
void raw_exec(Engine& engine, const std::string& container) {
    const Patience patience = Patience::for_cleanup(60s);
    const Value body = Value::object(
        {{"AttachStdout", true}, {"AttachStderr", true}, {"Cmd", Value::array({Value("true")})}});
    const std::string id = engine.call(patience, "POST", "/containers/" + container + "/exec", body)
                               .document()["Id"]
                               .string_or("");
    const auto answer = engine.hijack(patience, "/exec/" + id + "/start", Value::object({{"Detach", false}}));
    const auto& stream = std::get<http::Hijacked>(answer);
    char buffer[4096];
    while (::recv(stream.fd.get(), buffer, sizeof buffer, 0) > 0) {
    }
    engine.call(patience, "GET", "/exec/" + id + "/json");
}

double middle(std::vector<double>& times) {
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

}  // namespace

// Run by name: docker_live "[measure]"
TEST_CASE("what exec costs beyond the engine's API", "[.measure]") {
    Live live;
    TestContext ctx(600s);
    auto instance = live.running(ctx, "sleep", "1000");
    Engine engine(Live::config());
    std::vector<double> raw;
    std::vector<double> ours;
    for (int round = 0; round < 100; ++round) {
        raw.push_back(milliseconds_of([&] { raw_exec(engine, live.container(instance)); }));
        ours.push_back(milliseconds_of([&] { live.exec(ctx, instance, command("true")); }));
    }
    std::printf("exec: raw %.2f ms, through the runtime %.2f ms (p50 of 100, interleaved)\n", middle(raw),
                middle(ours));
    CHECK(middle(ours) < middle(raw) + 2);
}
