// What a plugin says to core, with a runtime that does as each test likes.
#include "support.hpp"

#include <minions/plugin.hpp>

#include <catch2/catch.hpp>
#include <sys/socket.h>

#include <functional>
#include <thread>

using namespace minions;
using namespace minions::core;
using namespace minions::core::testing;

namespace {

std::function<void(Host&)> on_open;
std::function<void(Context&)> on_create;

struct Puppet : Runtime {
    explicit Puppet(Host& host) {
        if (on_open) on_open(host);
    }
    Health health(Context&) override { return {}; }
    RuntimeState create(Context& ctx, const Instance&) override {
        on_create(ctx);
        return {};
    }
    InstanceFacts start(Context&, const Instance&) override { return {}; }
    InstanceFacts stop(Context&, const Instance&, milliseconds) override { return {}; }
    void kill(Context&, const Instance&) override {}
    void destroy(Context&, const Instance&) override {}
    InstanceFacts inspect(Context&, const Instance&) override { return {}; }
    void release(Context&, const JournalRow&) override {}
    std::optional<InstanceFacts> recover(Context&, const Instance&) override { return {}; }
    void recovered(Context&) override {}
};

std::unique_ptr<RuntimeClient> make_client(PluginSink& sink) {
    const auto* plugin = detail::describe<Puppet>({"puppet", "1", "for tests", Kind::vm});
    const auto connect = [plugin](HostHandler handler) {
        return std::make_unique<InProcessTransport>(*plugin, std::move(handler));
    };
    return std::make_unique<RuntimeClient>(
        read_description(plugin), sink, connect,
        ClientTimes{.deadline_grace = milliseconds(50), .cancel_grace = milliseconds(50)});
}

void open(RuntimeClient& client, milliseconds within = seconds(20)) {
    client.open({.config = Value::object(), .installation = "test", .directories = {}}, deadline_in(within));
}

/// A Context whose only process has ended with 3.
class ProcessContext : public RecordingContext, private Processes {
  public:
    Processes& processes() override { return *this; }

  private:
    ProcessHome home() override {
        return {.uid = 1, .gid = 2, .directory = "/home", .run_directory = "/run"};
    }
    SupervisedProcess start(const ProcessSpec& spec, std::vector<Fd> pass) override {
        if (spec.role != "vmm" || pass.size() != 1) throw Error(Code::invalid, "not what was asked for");
        return ended();
    }
    std::optional<SupervisedProcess> find(std::string_view role) override {
        if (role != "vmm") return std::nullopt;
        return ended();
    }
    void kill(std::string_view) override {}

    static SupervisedProcess ended() {
        auto pair = make_socketpair(SOCK_SEQPACKET);
        const auto text = to_json(encode(ProcessEnd{.exit_code = 3, .signal = {}}));
        REQUIRE(::send(pair.first.get(), text.data(), text.size(), 0) > 0);
        return {{.pid = 7, .start_time = 8}, std::move(pair.second)};
    }
};

int exit_code_from(const SupervisedProcess& process) {
    char text[256];
    const auto got = ::recv(process.end.get(), text, sizeof text, 0);
    REQUIRE(got > 0);
    return decode<ProcessEnd>(parse_json({text, static_cast<std::size_t>(got)})).exit_code.value_or(-1);
}

}  // namespace

TEST_CASE("a plugin's own thread may log while the daemon ends, and after") {
    std::atomic<int> lines = 0;
    std::atomic<bool> stop = false;
    std::thread logging;
    on_open = [&](Host& host) {
        logging = std::thread([&] {
            for (; !stop; ++lines) host.log(LogLevel::info, "still here");
        });
    };
    RecordingSink sink;
    auto client = make_client(sink);
    open(*client);
    client.reset();
    for (const int now = lines; lines < now + 3;) std::this_thread::yield();
    stop = true;
    logging.join();
    CHECK(sink.seen().logs.size() <= static_cast<std::size_t>(lines));
}

TEST_CASE("a constructor that hangs inside of core does not hold its client") {
    // Static: whose raise() wakes this test may be in it still at the end.
    static struct Stuck : RecordingSink {
        void on_health_changed(const RuntimeHandle& runtime) override {
            REQUIRE(release.wait(deadline_in(seconds(60))));
            name = runtime.name;
            returned.raise();
        }
        EventFd release;
        EventFd returned;
        std::string name;
    } sink;
    on_open = [](Host& host) { host.health_changed(); };
    auto client = make_client(sink);
    CHECK(code_of([&] { open(*client, milliseconds(50)); }) == Code::deadline);
    client.reset();
    CHECK_FALSE(sink.returned.raised());  // it is in there still
    sink.release.raise();
    REQUIRE(sink.returned.wait(deadline_in(seconds(20))));
    CHECK(sink.name == "puppet");  // what it uses outlived the client
}

TEST_CASE("what a runtime says on behalf of a call that was given up is refused") {
    on_open = nullptr;
    EventFd go;
    EventFd done;
    Code journal{};
    Code state{};
    on_create = [&](Context& ctx) {
        REQUIRE(go.wait(deadline_in(seconds(20))));
        journal = code_of([&] { ctx.journal().intend("kind", "key"); });
        state = code_of([&] { ctx.save_state({}); });
        ctx.log(LogLevel::info, "nobody hears this, and it throws nothing");
        done.raise();
    };
    RecordingSink sink;
    auto client = make_client(sink);
    open(*client);
    RecordingContext context(deadline_in(milliseconds(20)));
    CHECK(code_of([&] { client->create(context, make_instance("late")); }) == Code::deadline);
    go.raise();
    REQUIRE(done.wait(deadline_in(seconds(20))));
    CHECK(journal == Code::cancelled);
    CHECK(state == Code::cancelled);
    CHECK(context.seen().journal.empty());
    CHECK(context.seen().states.empty());
}

TEST_CASE("a supervised process is told of with the descriptor of its end") {
    on_open = nullptr;
    on_create = [](Context& ctx) {
        auto pipe = make_pipe();
        const auto started = ctx.processes().start(
            {.role = "vmm", .argv = {"/bin/vmm"}, .env = {}, .devices = {}, .memory_limit_mb = {}},
            one(std::move(pipe.first)));
        CHECK(started.info.pid == 7);
        CHECK(exit_code_from(started) == 3);
        const auto found = ctx.processes().find("vmm");
        REQUIRE(found);
        CHECK(found->info.start_time == 8);
        CHECK(exit_code_from(*found) == 3);
        CHECK_FALSE(ctx.processes().find("other"));
        CHECK(ctx.processes().home().gid == 2);
        CHECK(code_of([&] { ctx.images().acquire("any"); }) == Code::unavailable);
        CHECK(code_of([&] { ctx.network().attach(); }) == Code::unavailable);
    };
    RecordingSink sink;
    auto client = make_client(sink);
    open(*client);
    ProcessContext context;
    client->create(context, make_instance("supervised"));
}

TEST_CASE("a plugin's process that ends before it is opened is told of as a change of health") {
    RecordingSink sink;
    const auto* plugin = detail::describe<Puppet>({"puppet", "1", "for tests", Kind::vm});
    RuntimeClient client(read_description(plugin), sink, [](HostHandler handler) {
        return std::make_unique<ChildTransport>(ChildOptions{"/bin/false", {}, "/no/plugin.so"},
                                                std::move(handler));
    });
    CHECK(code_of([&] { open(client); }) == Code::unavailable);
    CHECK(sink.wait([](const auto& seen) { return seen.health_changes == 1; }));
}
