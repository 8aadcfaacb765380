#include "core/api/helpers.hpp"
#include "tests/unit/core/api/api.hpp"

#include <future>

using namespace minions;
using namespace minions::core::test;

namespace {

/// A plugin that never closes what it was given: its calls were given up, and hang somewhere.
struct Hanging final : ExecFacet, FilesFacet {
    ExecEnd exec(Context&, const Instance&, const ExecSpec&, ExecStreams streams) override {
        write_all(streams.output.get(), "so far", 6);
        kept = std::move(streams);
        throw Error(failure, "the runtime does not answer");
    }
    void read_files(Context&, const Instance&, const std::string&, Fd) override {}
    void write_files(Context&, const Instance&, const std::string&, Fd in) override {
        kept.input = std::move(in);
        throw Error(failure, "the runtime does not answer");
    }
    Code failure = Code::unavailable;
    ExecStreams kept;
};

/// Keeps what a stream function sends.
struct Sent final : core::http::Stream {
    void start() override { started.raise(); }
    void write(std::string_view data) override {
        start();
        text += data;
    }
    int fd() const noexcept override { return -1; }
    EventFd started;
    std::string text;
};

}  // namespace

TEST_CASE("a plugin that hangs with the streams of a command keeps no request") {
    Api api;
    api.create("a");
    Hanging hanging;
    api.world.runtimes.handle.exec = &hanging;
    const Value command = Value::object({{"command", "cat"}, {"stdin", std::string(1 << 19, 'x')}});
    api.json("POST", "/api/vms/a/exec", 503, command);
    hanging.failure = Code::deadline;
    const Value late = api.json("POST", "/api/vms/a/exec", 504, command);
    CHECK(late["stdout"] == Value("so far"));
    CHECK(late["truncated"] == Value(true));
}

TEST_CASE("a plugin that hangs with an upload keeps no request") {
    Api api;
    api.create("a");
    Hanging hanging;
    api.world.runtimes.handle.files = &hanging;
    http::Request upload{"PUT", "/api/vms/a/files?path=/", {{"Content-Type", "application/x-tar"}}};
    upload.body = std::string(1 << 20, 'x');
    CHECK(api.client.request(upload, {deadline_in(std::chrono::seconds(20))}).status == 503);
}

TEST_CASE("a drain ends what lasts for ever, and leaves the rest its time") {
    const auto client = std::make_shared<core::http::Client>();
    const core::api::CallerGone finite(client);
    const core::api::CallerGone endless(client, core::api::Lasts::for_ever);
    const auto raised = [](const core::api::CallerGone& gone) {
        pollfd entry{gone.fd(), POLLIN, 0};
        return poll_until(&entry, 1, Deadline()) > 0;
    };
    CHECK_FALSE(raised(endless));
    client->mark_stopping();
    CHECK(raised(endless));
    CHECK_FALSE(raised(finite));
    client->mark_gone();
    CHECK(raised(finite));
}

TEST_CASE("who waits for an operation that a drain ends is told to come back") {
    Api api;
    auto events = api.world.events.subscribe();
    auto waiting = std::async(std::launch::async, [&] {
        return api.call("POST", "/api/vms",
                        Value::object({{"name", "a"},
                                       {"image", "any"},
                                       {"labels", Value::object({{"null.delay_ms.start", "60000"}})}}));
    });
    const auto started = events->next(deadline_in(std::chrono::seconds(10)));
    REQUIRE(started);
    REQUIRE(started->type == "operation.started");
    std::thread server([&] { api.server.stop(std::chrono::seconds(10)); });
    CHECK(api.world.operations.drain(deadline_in(std::chrono::seconds(10))));
    const auto reply = waiting.get();
    server.join();
    CHECK(reply.status == 503);
    CHECK_FALSE(reply.header("Retry-After").empty());
    CHECK(parse_json(reply.body)["operation"] == Value(started->subject));
}

TEST_CASE("only what is followed answers before it has anything to say") {
    core::http::Request request("GET", "/");
    Sent sent;
    const auto send = [&](core::api::Lasts lasts) {
        const auto reply = core::api::stream_from(request, "text/plain", lasts, [&](Fd, int) {
            sent.started.wait(deadline_in(std::chrono::milliseconds(600)));
            throw Error(Code::failed, "the log cannot be read");
        });
        CHECK_THROWS_WITH(reply.stream(sent), "the log cannot be read");
        return sent.started.raised();
    };
    CHECK_FALSE(send(core::api::Lasts::to_its_end));
    CHECK(send(core::api::Lasts::for_ever));
}
