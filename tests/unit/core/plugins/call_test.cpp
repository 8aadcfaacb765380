#include "tests/unit/base/no_more_files.hpp"
#include "transports.hpp"

#include <catch2/catch.hpp>
#include <sys/socket.h>

#include <csignal>
#include <future>
#include <thread>

using namespace minions;
using namespace minions::core;
using namespace minions::core::testing;
using Catch::Matchers::Contains;
using Clock = std::chrono::steady_clock;

namespace {

constexpr auto both = {NullPlugin::Over::calls, NullPlugin::Over::socketpair};

ExecStreams streams_to(Fd out) { return {Fd(), std::move(out), Fd(), Fd()}; }

}  // namespace

TEST_CASE("cancelling the caller's context ends a call into a runtime") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    const auto instance = make_instance("cancel");
    null->create(context, instance);
    null->start(context, instance);
    auto pipe = make_pipe();
    PlainContext cancelled;
    auto ended = Code::internal;
    std::thread running([&] {
        ExecSpec spec;
        spec.command = "size";
        ended = code_of([&] { null->exec(cancelled, instance, spec, streams_to(std::move(pipe.second))); });
    });
    char byte = 0;
    REQUIRE(::read(pipe.first.get(), &byte, 1) == 1);  // it runs
    cancelled.cancel();
    running.join();
    CHECK(ended == Code::cancelled);
    read_all(pipe.first);  // its end was closed
    null->destroy(context, instance);
}

TEST_CASE("a runtime ends a call at its deadline") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    const auto instance = make_instance("deadline", {{"null.delay_ms.start", "600000"}});
    null->create(context, instance);
    PlainContext brief(deadline_in(milliseconds(30)));
    CHECK(code_of([&] { null->start(brief, instance); }) == Code::deadline);
    CHECK(null.sink.seen().logs.empty());
    CHECK(code_of([&] { null->start(brief, instance); }) == Code::deadline);  // not even begun
    null->destroy(context, instance);
}

TEST_CASE("a runtime that hangs is given up, and the caller goes on") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over, Value::object(),
                    {.deadline_grace = milliseconds(50), .cancel_grace = milliseconds(50)});
    RecordingContext context;
    const auto instance = make_instance("hangs", {{"null.hang_ms.start", "1500"}});
    null->create(context, instance);
    PlainContext brief(deadline_in(milliseconds(20)));
    const auto before = Clock::now();
    CHECK(code_of([&] { null->start(brief, instance); }) == Code::deadline);
    CHECK(Clock::now() - before < milliseconds(1400));
    const auto logs = null.sink.seen().logs;
    REQUIRE(logs.size() == 1);
    CHECK_THAT(logs[0], Contains("'start' did not return in time"));
    if (over == NullPlugin::Over::calls) {
        CHECK(null->health(context).healthy);  // others go on
    } else {
        CHECK(code_of([&] { null->health(context); }) == Code::unavailable);  // killed
    }
}

TEST_CASE("when the plugin's process dies, calls under way and later ones are unavailable") {
    NullPlugin null(NullPlugin::Over::socketpair);
    RecordingContext context;
    const auto instance = make_instance("dies");
    null->create(context, instance);
    null->start(context, instance);
    auto pipe = make_pipe();
    auto running = std::async(std::launch::async, [&] {
        RecordingContext own;
        ExecSpec spec;
        spec.command = "size";
        return code_of([&] { null->exec(own, instance, spec, streams_to(std::move(pipe.second))); });
    });
    char byte = 0;
    REQUIRE(::read(pipe.first.get(), &byte, 1) == 1);
    REQUIRE(::kill(null.child, SIGKILL) == 0);
    CHECK(running.get() == Code::unavailable);
    try {
        null->health(context);
        FAIL("a dead runtime answered");
    } catch (const Error& error) {
        CHECK(error.code() == Code::unavailable);
        CHECK_THAT(error.message(), Contains("killed by signal 9"));
    }
}

TEST_CASE("a daemon that is out of descriptors loses a call, not the plugin") {
    NullPlugin null(NullPlugin::Over::socketpair);
    RecordingContext context;
    const auto instance = make_instance("full", {{"null.listen", "80"}});
    null->create(context, instance);
    null->start(context, instance);
    bool lost = false;
    // Again where a thread of an earlier call gave a descriptor back after the limit was set.
    for (int attempt = 0; attempt < 100 && !lost; ++attempt) {
        const minions::testing::NoMoreFiles limit(1);  // one is for the call itself
        try {
            null->forward(context, instance, 80);
        } catch (const Error& error) {
            REQUIRE(error.code() == Code::unavailable);
            lost = true;
        }
    }
    CHECK(lost);
    CHECK(null->forward(context, instance, 80));
    null->destroy(context, instance);
}

TEST_CASE("no descriptor is leaked, whatever becomes of a call") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    const auto instance = make_instance("leaks");
    null->create(context, instance);
    const auto round = [&] {
        ExecSpec spec;
        spec.command = "true";
        for (int i = 0; i < 10; ++i) {
            // Refused (not running), with four descriptors passed.
            auto control = make_socketpair(SOCK_SEQPACKET);
            auto out = make_pipe();
            auto in = make_pipe();
            auto error = make_pipe();
            CHECK(code_of([&] {
                      null->exec(context, instance, spec,
                                 {std::move(in.first), std::move(out.second), std::move(error.second),
                                  std::move(control.second)});
                  }) == Code::wrong_state);
            read_all(out.first);  // ends only when every copy is closed
            auto log = make_pipe();
            null->logs(context, instance, {}, std::move(log.second));
            read_all(log.first);
        }
    };
    round();
    const auto before = open_descriptors();
    round();
    // A transport's thread lets go of its last call a moment after the caller has the reply: one more may
    // have been counted, where a leak would be ten.
    const auto until = deadline_in(seconds(20));
    while (open_descriptors() > before && Clock::now() < until) std::this_thread::yield();
    CHECK(open_descriptors() <= before);
    null->destroy(context, instance);
}

TEST_CASE("eight threads at once") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    std::atomic<int> done = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 20; ++i) {
                RecordingContext context;
                const auto instance = make_instance("t" + std::to_string(t) + "x" + std::to_string(i));
                null->create(context, instance);
                if (context.seen().journal.size() != 2) return;
                null->start(context, instance);
                auto pipe = make_pipe();
                ExecSpec spec;
                spec.command = "echo";
                spec.args = {instance.id};
                null->exec(context, instance, spec, streams_to(std::move(pipe.second)));
                if (read_all(pipe.first) != instance.id + "\n") return;
                null->destroy(context, instance);
                ++done;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    CHECK(done == 160);
}

TEST_CASE("an unknown method, a broken message and a bad configuration are errors, not crashes") {
    NullPlugin null(NullPlugin::Over::calls);
    RecordingSink sink;
    InProcessTransport transport(*minions_plugin_entry(), [](auto, auto, auto) {
        return Message{R"({"r":{}})", {}};
    });
    const auto ask = [&](bool open, std::string text) {
        const auto promised = std::make_shared<std::promise<std::string>>();
        auto reply = promised->get_future();
        const auto take = [promised](const Message& message) { promised->set_value(message.text); };
        if (open) {
            transport.open({std::move(text), {}}, take);
        } else {
            transport.call(1, {std::move(text), {}}, take);
        }
        REQUIRE(reply.wait_for(seconds(20)) == std::future_status::ready);
        return reply.get();
    };
    CHECK_THAT(ask(false, R"({"m":"health"})"), Contains("has not been opened"));
    CHECK_THAT(ask(true, R"({"config":{"helthy":true}})"), Contains("did you mean 'healthy'"));
    CHECK_THAT(ask(true, R"({"config":{"delay_ms":-1}})"), Contains("field 'delay_ms' must be between"));
    CHECK_THAT(ask(true, R"({"config":{"fail":["open"]}})"), Contains("configured to fail"));
    CHECK(ask(true, R"({"config":{},"of_a_newer_version":1})") == R"({"r":{}})");
    CHECK_THAT(ask(false, R"({"m":"dance"})"), Contains("unsupported_by_runtime"));
    CHECK_THAT(ask(false, "{"), Contains("not valid JSON"));
    CHECK_THAT(ask(false, R"({"m":"start"})"), Contains("field 'instance' is required"));
    CHECK_THAT(ask(false, R"({"m":"health","p":{},"new":1})"), Contains("\"healthy\":true"));
    CHECK(ask(false, R"({"m":"cancel","p":{"call":99}})") == R"({"r":{"found":false}})");
}

TEST_CASE("the cost of one call", "[!benchmark][.]") {
    for (const auto over : both) {
        NullPlugin null(over);
        PlainContext context(deadline_in(seconds(60)));
        constexpr int rounds = 5000;
        for (int i = 0; i < 500; ++i) null->health(context);
        const auto before = Clock::now();
        for (int i = 0; i < rounds; ++i) null->health(context);
        const std::chrono::duration<double, std::micro> spent = Clock::now() - before;
        WARN((over == NullPlugin::Over::calls ? "in process: " : "socketpair: ")
             << spent.count() / rounds << " us");
    }
}
