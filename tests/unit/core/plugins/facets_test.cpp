#include "transports.hpp"

#include <minions/base/tar.hpp>

#include <catch2/catch.hpp>
#include <sys/socket.h>

#include <functional>
#include <thread>

using namespace minions;
using namespace minions::core;
using namespace minions::core::testing;
using Catch::Matchers::Contains;

namespace {

constexpr auto both = {NullPlugin::Over::calls, NullPlugin::Over::socketpair};

struct Ran {
    ExecEnd end;
    std::string out;
    std::string error;
};

/// Runs a command to its end, with `input` as its standard input.
Ran run(RuntimeClient& runtime, const Instance& instance, std::vector<std::string> argv,
        std::string input = "") {
    ExecSpec spec;
    spec.command = argv[0];
    spec.args.assign(argv.begin() + 1, argv.end());
    auto in = make_pipe();
    auto out = make_pipe();
    auto error = make_pipe();
    write_all(in.second.get(), input.data(), input.size());
    in.second.reset();
    RecordingContext context;
    Ran ran;
    ran.end = runtime.exec(context, instance, spec,
                           {std::move(in.first), std::move(out.second), std::move(error.second), Fd()});
    ran.out = read_all(out.first);
    ran.error = read_all(error.first);
    return ran;
}

/// Cancelled as soon as somebody waits for that: when the call is on its way.
class CancelledUnderWay : public PlainContext {
  public:
    CancelledUnderWay() : PlainContext(deadline_in(seconds(60))) {}
    bool cancelled() const noexcept override { return cancel_.raised(); }
    int cancel_fd() const noexcept override {
        cancel_.raise();
        return cancel_.fd();
    }

  private:
    mutable EventFd cancel_;
};

std::string tar_with(const std::string& name, const std::string& contents) {
    std::string archive;
    TarWriter writer([&](std::string_view piece) { archive += piece; });
    writer.add_file(name, contents);
    writer.finish();
    return archive;
}

/// A descriptor that gives `text` and then the end.
Fd source_of(const std::string& text) {
    auto pipe = make_pipe();
    write_all(pipe.second.get(), text.data(), text.size());  // less than a pipe holds
    return std::move(pipe.first);
}

}  // namespace

TEST_CASE("a runtime keeps its contract through the seam: life") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    auto instance = make_instance("life");

    CHECK(null->health(context).healthy);
    CHECK(null->handle().facets.size() == 10);
    CHECK(null->handle().features == std::set<std::string>{"disk", "ports"});
    const auto state = null->create(context, instance);
    CHECK(state.version == 1);
    CHECK(state.data["handle"] == Value("null-life"));
    CHECK(null->inspect(context, instance).status == Status::stopped);

    instance.spec.ports = {{.port = 80}};
    CHECK(null->start(context, instance).status == Status::running);
    CHECK(null->pause(context, instance).status == Status::paused);
    CHECK(null->resume(context, instance).status == Status::running);
    CHECK(null->resize(context, instance, {.cpus = 2, .memory_mb = 64, .disk_gb = {}}).status ==
          Status::running);
    CHECK(null->stats(context, instance).memory_total_mb == 64);
    CHECK(null->stop(context, instance, milliseconds(10)).exit_code == 0);
    instance.boot = 2;
    null->start(context, instance);
    null->kill(context, instance);
    CHECK(null->inspect(context, instance).exit_code == 137);
    null->destroy(context, instance);
    CHECK(code_of([&] { null->inspect(context, instance); }) == Code::not_found);
    null->destroy(context, instance);
    null->release(context, {.id = 1, .instance = "life", .kind = "null", .key = "life", .held = true});
    CHECK(null->recover(context, instance)->status == Status::stopped);
    null->recovered(context);
    null->destroy(context, instance);
}

TEST_CASE("what a runtime asks of its host during a call arrives at the caller's context") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    const auto instance = make_instance("asks");
    null->create(context, instance);
    auto seen = context.seen();
    CHECK(seen.journal == std::vector<std::string>{"intend null asks", "held null asks"});
    REQUIRE(seen.progress.size() == 1);
    CHECK(seen.progress[0].stage == "creating");
    REQUIRE(seen.states.size() == 1);
    CHECK(seen.states[0].data["handle"] == Value("null-asks"));
    null->destroy(context, instance);
    CHECK(context.seen().journal.back() == "gone null asks");
}

TEST_CASE("an instance that ends by itself is reported with its boot") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    auto instance = make_instance("ends", {{"null.exit_after_ms", "1"}, {"null.exit_code", "3"}});
    instance.boot = 7;
    null->create(context, instance);
    null->start(context, instance);
    REQUIRE(null.sink.wait([](const auto& seen) { return !seen.events.empty(); }));
    const auto event = null.sink.seen().events[0];
    CHECK(event.instance == "ends");
    CHECK(event.boot == 7);
    CHECK(event.facts.status == Status::stopped);
    CHECK(event.facts.exit_code == 3);
    null->destroy(context, instance);
}

TEST_CASE("errors keep their code, message and hint") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    auto instance = make_instance("fails", {{"null.fail", "start"}, {"null.fail_code", "no_space"}});
    null->create(context, instance);
    try {
        null->start(context, instance);
        FAIL("start did not throw");
    } catch (const Error& error) {
        CHECK(error.code() == Code::no_space);
        CHECK_THAT(error.message(), Contains("asked to fail 'start'"));
        CHECK(error.hint() == "remove the label null.fail");
    }
    null->destroy(context, instance);
    instance.spec.image = "missing/image";
    CHECK(code_of([&] { null->create(context, instance); }) == Code::not_found);
}

TEST_CASE("exec: streams, exit codes, signals and the terminal's size") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    const auto instance = make_instance("exec");
    null->create(context, instance);
    CHECK(code_of([&] { run(*null, instance, {"true"}); }) == Code::wrong_state);
    null->start(context, instance);

    CHECK(run(*null, instance, {"echo", "a", "b"}).out == "a b\n");
    CHECK(run(*null, instance, {"echo-error", "c"}).error == "c\n");
    CHECK(run(*null, instance, {"cat"}, "through").out == "through");
    CHECK(run(*null, instance, {"exit", "42"}).end.exit_code == 42);
    const auto absent = run(*null, instance, {"nosuch"});
    CHECK(absent.end.exit_code == 127);
    CHECK_THAT(absent.error, Contains("nosuch"));

    auto control = make_socketpair(SOCK_SEQPACKET);
    auto out = make_pipe();
    ExecEnd end;
    std::thread running([&] {
        RecordingContext own;
        ExecSpec spec;
        spec.command = "size";
        spec.tty = true;
        end = null->exec(own, instance, spec, {Fd(), std::move(out.second), Fd(), std::move(control.second)});
    });
    char line[16] = {};
    REQUIRE(::read(out.first.get(), line, sizeof line) > 0);
    CHECK(std::string(line) == "24 80\n");
    for (const std::string text : {R"({"rows":50,"columns":100})", R"({"signal":15})"}) {
        REQUIRE(::send(control.first.get(), text.data(), text.size(), 0) > 0);
    }
    CHECK(read_all(out.first) == "50 100\n");
    running.join();
    CHECK(end.signal == 15);
    null->destroy(context, instance);
}

TEST_CASE("logs end with the instance when followed") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    const auto instance = make_instance("logs");
    null->create(context, instance);
    null->start(context, instance);
    auto pipe = make_pipe();
    std::thread following([&] {
        RecordingContext own;
        null->logs(own, instance, {.tail = {}, .follow = true}, std::move(pipe.second));
    });
    char first[64] = {};
    REQUIRE(::read(pipe.first.get(), first, sizeof first) > 0);
    CHECK(std::string(first) == "started\n");
    null->kill(context, instance);
    CHECK(read_all(pipe.first) == "ended with exit code 137\n");
    following.join();
    auto tail = make_pipe();
    null->logs(context, instance, {.tail = 1, .follow = false}, std::move(tail.second));
    CHECK(read_all(tail.first) == "ended with exit code 137\n");
    null->destroy(context, instance);
}

TEST_CASE("files, forwards, snapshots, copies and builds") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    auto instance = make_instance("facets", {{"null.listen", "80"}});
    null->create(context, instance);
    null->start(context, instance);

    null->write_files(context, instance, "/data", source_of(tar_with("a.txt", "hello")));
    auto pipe = make_pipe();
    null->read_files(context, instance, "/data/a.txt", std::move(pipe.second));
    const std::string archive = read_all(pipe.first);
    std::string_view rest = archive;
    TarReader reader([&](char* data, std::size_t size) {
        const std::size_t taken = std::min(size, rest.size());
        std::copy_n(rest.data(), taken, data);
        rest.remove_prefix(taken);
        return taken;
    });
    const auto entry = reader.next();
    REQUIRE(entry);
    CHECK(entry->name == "a.txt");
    char contents[16] = {};
    CHECK(reader.read(contents, sizeof contents) == 5);
    CHECK(std::string(contents) == "hello");
    auto nowhere = make_pipe();
    CHECK(code_of([&] { null->read_files(context, instance, "/none", std::move(nowhere.second)); }) ==
          Code::not_found);

    const auto copied = make_instance("copied");
    CHECK(null->copy(context, copied, instance).data["handle"].string_or("") == "null-" + copied.id);
    auto copied_files = make_pipe();
    null->read_files(context, copied, "/data/a.txt", std::move(copied_files.second));
    CHECK(read_all(copied_files.first) == archive);
    CHECK(code_of([&] { null->copy(context, make_instance("again"), make_instance("nowhere")); }) ==
          Code::not_found);

    const Fd echo = null->forward(context, instance, 80);
    write_all(echo.get(), "ping", 4);
    char answer[4];
    REQUIRE(read_exact(echo.get(), answer, 4));
    CHECK(std::string(answer, 4) == "ping");
    CHECK(code_of([&] { null->forward(context, instance, 81); }) == Code::unavailable);

    CHECK(null->create_snapshot(context, instance, {.name = "s", .memory = true}).memory);
    CHECK(code_of([&] { null->create_snapshot(context, instance, {.name = "s", .memory = true}); }) ==
          Code::conflict);
    CHECK(null->list_snapshots(context, instance).size() == 1);
    null->kill(context, instance);
    CHECK(null->restore_snapshot(context, instance, "s").status == Status::running);
    null->delete_snapshot(context, instance, "s");
    CHECK(null->list_snapshots(context, instance).empty());

    auto log = make_pipe();
    const BuildSpec spec{.tag = "t:1",
                         .dockerfile = "Dockerfile",
                         .labels = {},
                         .memory_mb = {},
                         .max_bytes = {},
                         .network = true};
    const auto built =
        null->build(context, spec, source_of(tar_with("Dockerfile", "FROM x")), std::move(log.second));
    CHECK_THAT(built.image, Catch::Matchers::StartsWith("null:"));
    CHECK_THAT(read_all(log.first), Contains("built null:"));
    auto no_log = make_pipe();
    CHECK(code_of([&] {
              null->build(context, spec, source_of(tar_with("other", "")), std::move(no_log.second));
          }) == Code::failed);
    null->remove_image(context, "t:1");
    null->destroy(context, instance);
}

TEST_CASE("an image in use stays, and one that is not needed can be released") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    const auto build = [&](const std::string& tag) {
        auto log = make_pipe();
        BuildSpec spec;
        spec.tag = tag;
        spec.dockerfile = "Dockerfile";
        null->build(context, spec, source_of(tar_with("Dockerfile", "FROM " + tag)), std::move(log.second));
    };
    build("used:1");
    auto instance = make_instance("user");
    instance.spec.image = "used:1";
    null->create(context, instance);
    CHECK(code_of([&] { null->remove_image(context, "used:1"); }) == Code::conflict);
    null->destroy(context, instance);
    null->remove_image(context, "used:1");
    CHECK(context.seen().journal.back() == "gone image used:1");

    build("left:1");
    const JournalRow row{.id = 1, .instance = "", .kind = "image", .key = "left:1", .held = true};
    null->release(context, row);
    null->release(context, row);  // repeatable
    null->remove_image(context, "left:1");
    CHECK(context.seen().journal.back() == "held image left:1");  // there was nothing left to remove
}

TEST_CASE("cancellation ends a build, followed logs and transfers that wait for the other side") {
    const auto over = GENERATE(from_range(both));
    NullPlugin null(over);
    RecordingContext context;
    const auto instance = make_instance("waits");
    null->create(context, instance);
    null->start(context, instance);
    auto pipe = make_pipe();  // nobody writes to it, or reads from it
    Fd& reading = pipe.first;
    Fd& writing = pipe.second;
    std::function<void(Context&)> call;
    SECTION("build") {
        call = [&](Context& ctx) {
            BuildSpec spec;
            spec.tag = "t:1";
            spec.dockerfile = "Dockerfile";
            auto log = make_pipe();
            null->build(ctx, spec, std::move(reading), std::move(log.second));
        };
    }
    SECTION("logs") {
        call = [&](Context& ctx) {
            null->logs(ctx, instance, {.tail = 0, .follow = true}, std::move(writing));
        };
    }
    SECTION("write_files") {
        call = [&](Context& ctx) { null->write_files(ctx, instance, "/data", std::move(reading)); };
    }
    SECTION("read_files") {
        const std::string big(std::size_t{1} << 18, 'x');  // more than a pipe holds
        auto in = make_pipe();
        std::thread feeding([&] {
            const std::string archive = tar_with("big", big);
            write_all(in.second.get(), archive.data(), archive.size());
            in.second.reset();
        });
        null->write_files(context, instance, "/data", std::move(in.first));
        feeding.join();
        call = [&](Context& ctx) { null->read_files(ctx, instance, "/data", std::move(writing)); };
    }
    CancelledUnderWay cancelled;
    CHECK(code_of([&] { call(cancelled); }) == Code::cancelled);
    CHECK(context.seen().journal.size() == 2);  // the instance's own: nothing was begun
    null->destroy(context, instance);
}

TEST_CASE("a facet that the class lacks is not in the handle") {
    PluginDescription few = read_description(minions_plugin_entry());
    few.facets = {"exec", "of-a-newer-version"};
    RecordingSink sink;
    const RuntimeClient client(few, sink, [](HostHandler handler) {
        return std::make_unique<InProcessTransport>(*minions_plugin_entry(), std::move(handler));
    });
    CHECK(client.handle().exec != nullptr);
    CHECK(client.handle().logs == nullptr);
    CHECK(client.handle().facets == std::vector<std::string>{"exec"});
}
