// What becomes of a deployment that does not get through its stages, and of what a daemon that died left of
// one.

#include "core/deployments/deployments.hpp"
#include "core/deployments/git.hpp"
#include "core/store/ids.hpp"
#include "tests/unit/core/deployments/support.hpp"
#include "tests/unit/core/null_world.hpp"

#include <minions/base/spawn.hpp>

#include <catch2/catch.hpp>
#include <signal.h>
#include <sqlite3.h>
#include <unistd.h>

#include <future>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;

namespace {

/// A world in which git waits before it clones until release().
struct Held : World {
    explicit Held(NullRuntime::Config config = {}, std::size_t parallel = 4)
        : World(std::move(config), parallel) {
        const auto gate = (directory / "go").string();
        write(directory / "git",
              "#!/bin/sh\nwhile ! [ -e '" + gate + "' ]; do sleep 0.02; done\nexec git \"$@\"\n", 0755);
        options.git_program = directory / "git";
        apply();
    }
    void release() { write(directory / "go", ""); }
    /// Has the options used.
    void apply() {
        deployments = std::make_unique<Deployments>(store, operations, instances, runtimes, options);
    }
    void reach(const OperationPtr& operation, std::string_view stage) {
        auto news = events.subscribe();
        while (operation->row().stage != stage) {
            REQUIRE_FALSE(operation->finished());
            news->next(deadline_in(std::chrono::milliseconds(20)));
        }
    }
    DeploymentRow row_of(const OperationPtr& operation) {
        const auto id = operation->row().subject;
        return *store.transact([&](Transaction& t) { return t.deployment(id); });
    }
};

/// The null runtime behind an engine in which names are taken by strangers.
class Taken final : public Runtime {
  public:
    Taken(Runtime& inner, int names) : inner_(inner), names_(names) {}
    Health health(Context& ctx) override { return inner_.health(ctx); }
    RuntimeState create(Context& ctx, const Instance& instance) override {
        if (names_-- > 0) throw Error(Code::conflict, "the name '" + instance.name + "' is taken");
        return inner_.create(ctx, instance);
    }
    InstanceFacts start(Context& ctx, const Instance& instance) override {
        return inner_.start(ctx, instance);
    }
    InstanceFacts stop(Context& ctx, const Instance& instance, milliseconds grace) override {
        return inner_.stop(ctx, instance, grace);
    }
    void kill(Context& ctx, const Instance& instance) override { inner_.kill(ctx, instance); }
    void destroy(Context& ctx, const Instance& instance) override { inner_.destroy(ctx, instance); }
    InstanceFacts inspect(Context& ctx, const Instance& instance) override {
        return inner_.inspect(ctx, instance);
    }
    void release(Context& ctx, const JournalRow& row) override { inner_.release(ctx, row); }
    std::optional<InstanceFacts> recover(Context& ctx, const Instance& instance) override {
        return inner_.recover(ctx, instance);
    }
    void recovered(Context& ctx) override { inner_.recovered(ctx); }

  private:
    Runtime& inner_;
    int names_;
};

NullRuntime::Config slow() {
    NullRuntime::Config config;
    config.delay_ms = 60'000;
    return config;
}

}  // namespace

TEST_CASE("a deployment that is cancelled says where it was, and leaves nothing") {
    const auto stage = GENERATE(as<std::string>(), "queued", "cloning", "building");
    CAPTURE(stage);
    Held world(slow(), 1);
    const auto wanted = world.request();
    OperationPtr before;
    if (stage == "queued") {
        before = world.deployments->deploy(wanted, "local");
        world.reach(before, "cloning");
    }
    if (stage == "building") world.release();
    const auto operation = world.deployments->deploy(wanted, "local");
    world.reach(operation, stage);
    operation->cancel("somebody asked for it");
    CHECK(error_of([&] { operation->wait(); }).code() == Code::cancelled);
    const auto row = world.row_of(operation);
    CHECK(row.status == "cancelled");
    CHECK(row.stage == stage);
    CHECK(world.log_of(row.id).find("failed while " + stage) != std::string::npos);
    if (before) {
        before->cancel("the test is over");
        error_of([&] { before->wait(); });
    }
    world.nothing_left();
}

TEST_CASE("a deployment's stage can be read while it is in it") {
    Held world;
    const auto operation = world.deployments->deploy(world.request(), "local");
    world.reach(operation, "cloning");
    CHECK(world.row_of(operation).stage == "cloning");
    world.release();
    operation->wait();
}

TEST_CASE("a build that takes longer than it may has failed") {
    World world(slow());
    world.options.build_timeout = std::chrono::milliseconds(50);
    world.deployments = std::make_unique<Deployments>(world.store, world.operations, world.instances,
                                                      world.runtimes, world.options);
    const Error error = error_of([&] { world.deploy(world.request()); });
    CHECK(error.code() == Code::failed);
    CHECK(error.message().find("longer than 0.05 s") != std::string::npos);
    CHECK(error.details()["stage"] == Value("building"));
    world.nothing_left();
}

TEST_CASE("the wait for others has a limit of its own") {
    Held world({}, 1);
    const auto wanted = world.request();
    const auto before = world.deployments->deploy(wanted, "local");
    world.reach(before, "cloning");
    world.options.queue_timeout = std::chrono::milliseconds(50);
    SECTION("past it the deployment is over") {
        world.release();
        before->wait();
        std::filesystem::remove(world.directory / "go");
        world.apply();
        const auto first = world.deployments->deploy(wanted, "local");
        world.reach(first, "cloning");
        const Error error = error_of([&] { world.deploy(wanted); });
        CHECK(error.code() == Code::deadline);
        CHECK(error.details()["stage"] == Value("queued"));
        world.release();
        first->wait();
    }
    SECTION("it takes nothing from what clone and build may take") {
        const auto& allowed = world.options;
        CHECK(before->deadline() - std::chrono::steady_clock::now() >
              std::chrono::hours(1) - std::chrono::minutes(1) + allowed.clone_timeout +
                  allowed.build_timeout);
        world.release();
        before->wait();
    }
}

TEST_CASE("an image that is larger than it may be fails the deployment") {
    World world;
    world.options.max_image_bytes = 100;
    world.deployments = std::make_unique<Deployments>(world.store, world.operations, world.instances,
                                                      world.runtimes, world.options);
    const Error error = error_of([&] { world.deploy(world.request()); });
    CHECK(error.code() == Code::failed);
    CHECK(error.details()["cause"] == Value("too_large"));
    world.nothing_left();
}

TEST_CASE("a log can be read and followed as soon as the deployment is accepted") {
    Held world;
    Operations one(world.store, {.threads = 1});
    world.deployments =
        std::make_unique<Deployments>(world.store, one, world.instances, world.runtimes, world.options);
    const auto wanted = world.request();
    const auto before = world.deployments->deploy(wanted, "local");
    world.reach(before, "cloning");  // and has the only thread
    const auto waiting = world.deployments->deploy(wanted, "local");
    const auto id = waiting->row().subject;
    std::string text = "nothing";
    world.deployments->read_log("local", id, false, -1, [&](std::string_view) { text.clear(); });
    CHECK(text == "nothing");  // and no error
    auto follower = std::async(std::launch::async, [&] { return world.log_of(id); });
    world.release();
    waiting->wait();
    CHECK(follower.get().find("deployed: jules-agent-agent-") != std::string::npos);
}

TEST_CASE("a name that somebody else has moves to the next free second, with the same image") {
    World world;
    REQUIRE(world.instances.wait_recovered(deadline_in(std::chrono::seconds(10))));
    Taken taken(world.null, 3);
    world.runtimes.handle.runtime = &taken;
    const auto name = world.deploy(world.request())["container_name"].string_or("");
    CHECK(world.null.instance_count() == 1);
    CHECK(world.null.image_count() == 1);
    CHECK(world.instances.views({}).size() == 1);
    world.deployments->stop("local", name, true)->wait();
    world.nothing_left();
}

TEST_CASE("a container and its deployment's outcome reach the disk together") {
    World world;
    const auto wanted = world.request();
    sqlite3* database = nullptr;
    REQUIRE(::sqlite3_open((world.directory / "state/state.db").c_str(), &database) == SQLITE_OK);
    ::sqlite3_busy_timeout(database, 10'000);
    // Stands for a death before the last commit.
    REQUIRE(::sqlite3_exec(database,
                           "CREATE TRIGGER dies BEFORE UPDATE ON operations WHEN NEW.status = 'succeeded'"
                           " BEGIN SELECT RAISE(ABORT, 'dead'); END",
                           nullptr, nullptr, nullptr) == SQLITE_OK);
    ::sqlite3_close(database);
    const auto operation = world.deployments->deploy(wanted, "local");
    error_of([&] { operation->wait(); });
    world.nothing_left();
    CHECK(world.store.transact([&](Transaction& t) { return t.deployment(operation->row().subject); })
              ->status == "failed");
}

TEST_CASE("what a daemon that died left at work in a clone is ended") {
    World world;
    const auto directory = world.directory / "minions-deployment-abcdefghijkl";
    write(directory / "tree/file", "x");
    const auto identity = git_identity(world.options);
    if (identity) REQUIRE(::chown(directory.c_str(), identity->uid, identity->gid) == 0);
    const auto at_work = [&](const std::filesystem::path& where) {
        SpawnOptions options;
        options.argv = {"/bin/sh", "-c", "sleep 600 & wait"};
        options.cwd = where;
        options.identity = identity;
        return spawn(std::move(options));
    };
    auto left = at_work(directory / "tree");
    auto elsewhere = at_work(world.directory.path());
    JournalRecord record;
    record.row.kind = "directory";
    record.row.key = directory;
    record.created_at = now_rfc3339();
    world.store.transact([&](Transaction& t) { t.insert_journal(record); });
    CHECK(world.deployments->recover().empty());
    CHECK(left.wait(deadline_in(std::chrono::seconds(10)))->signal == SIGKILL);
    CHECK_FALSE(left.kill_group(0));  // nor is its child there
    CHECK_FALSE(elsewhere.wait(deadline_in(std::chrono::milliseconds(0))));
    world.nothing_left();
}

TEST_CASE("a stop while the daemon stops is refused for that reason") {
    World world;
    const auto name = world.deploy(world.request())["container_name"].string_or("");
    world.operations.drain(deadline_in(std::chrono::seconds(10)));
    const Error error = error_of([&] { world.deployments->stop("local", name, true); });
    CHECK(error.code() == Code::unavailable);
    CHECK(error.message() == "the daemon is stopping");
}

TEST_CASE("deployments that wait keep no thread from instances, and are bounded in number") {
    Held world({}, 1);
    world.options.max_pending = 66;  // more than operations.threads
    world.apply();
    const auto wanted = world.request();
    std::vector<OperationPtr> all;
    for (int i = 0; i < 66; ++i) all.push_back(world.deployments->deploy(wanted, "local"));
    const Error full = error_of([&] { world.deployments->deploy(wanted, "local"); });
    CHECK(full.code() == Code::too_many_requests);
    CHECK(full.message().find("deployments.max_pending = 66") != std::string::npos);

    const auto soon = deadline_in(std::chrono::seconds(20));
    CreateRequest create;
    create.name = "a";
    create.spec.image = "image";
    CHECK(world.instances.create(create)->wait(soon)["status"] == Value("running"));
    CHECK(world.instances.stop({"a"}, {.force = true})->wait(soon)["status"] == Value("stopped"));

    all.back()->cancel("no more needed");
    CHECK(error_of([&] { all.back()->wait(soon); }).code() == Code::cancelled);
    all.back() = world.deployments->deploy(wanted, "local");
    for (const auto& operation : all) operation->cancel("the test is over");
    for (const auto& operation : all) error_of([&] { operation->wait(soon); });
}
