#include "core/deployments/deployments.hpp"
#include "core/deployments/work_directory.hpp"
#include "core/store/ids.hpp"
#include "tests/unit/core/deployments/support.hpp"
#include "tests/unit/core/null_world.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/examples/null_runtime.hpp>

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include <future>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;

TEST_CASE("a repository becomes a running container with the documented reply") {
    World world;
    const auto made = world.deploy(world.request());
    const auto name = made["container_name"].string_or("");
    CHECK(name.starts_with("jules-agent-agent-"));
    CHECK(name.size() == std::string("jules-agent-agent-").size() + 10);
    CHECK(made["status"] == Value("running"));
    CHECK(made["ports"].find("8080/tcp") != nullptr);
    CHECK_FALSE(made["container_id"].string_or("").empty());

    const auto list = world.deployments->list("local", false);
    REQUIRE(list.if_array()->size() == 1);
    CHECK((*list.if_array())[0]["container_name"] == Value(name));
    CHECK_FALSE((*list.if_array())[0]["created"].is_null());
    CHECK(world.deployments->list("other", true) == Value::array());

    const auto view = world.instances.get({name, "local"});
    CHECK(view->row.spec.environment.at("PORT") == "8080");
    CHECK(world.null.image_count() == 1);

    const auto stopped = world.deployments->stop("local", name, true)->wait();
    CHECK(to_json(stopped) == R"({"stopped":")" + name + R"(","removed":true})");
    world.nothing_left();
}

TEST_CASE("a container that ends with 0 within the start window has exited") {
    World world;
    const auto made = world.deploy(world.request({"exit", "0"}));
    CHECK(made["status"] == Value("exited"));
    CHECK(made["ports"] == Value::object());
    CHECK(world.deployments->list("local", false) == Value::array());
    CHECK(world.deployments->list("local", true).if_array()->size() == 1);
    const auto name = made["container_name"].string_or("");
    const auto health = world.deployments->health("local", name, "/health", {});
    CHECK(health["container_status"] == Value("exited"));
    CHECK(health["http_probe"]["status_code"].is_null());
    world.deployments->stop("local", name, true)->wait();
    world.nothing_left();
}

TEST_CASE(
    "a container that fails within the start window fails the deployment and leaves nothing but a log") {
    World world;
    const Error error = error_of([&] { world.deploy(world.request({"exit", "3"})); });
    CHECK(error.code() == Code::failed);
    CHECK(error.message().find("exit code 3") != std::string::npos);
    CHECK(error.details()["stage"] == Value("watching"));
    const auto id = error.details()["deployment_id"].string_or("");
    CHECK(world.log_of(id).find("exit code 3") != std::string::npos);
    CHECK(error_of([&] {
              world.deployments->read_log("other", id, false, -1, [](std::string_view) {});
          }).code() == Code::not_found);
    const auto row = world.store.transact([&](Transaction& t) { return t.deployment(id); });
    REQUIRE(row);
    CHECK(row->status == "failed");
    CHECK(row->finished_at);
    CHECK(to_json(row->request).find("canary") == std::string::npos);
    world.nothing_left();
}

TEST_CASE("a failure at any stage is undone and named") {
    SECTION("cloning") {
        World world;
        auto wanted = world.request();
        wanted.branch = "absent";
        const Error error = error_of([&] { world.deploy(wanted); });
        CHECK(error.code() == Code::failed);
        CHECK(error.details()["stage"] == Value("cloning"));
        world.nothing_left();
    }
    SECTION("building") {
        World world;
        auto wanted = world.request();
        wanted.dockerfile = DockerfileChoice::repository;  // it has none
        const Error error = error_of([&] { world.deploy(wanted); });
        CHECK(error.code() == Code::failed);
        CHECK(error.details()["stage"] == Value("building"));
        world.nothing_left();
    }
    SECTION("creating or starting") {
        NullRuntime::Config config;
        config.fail = {GENERATE(as<std::string>(), "create", "start")};
        World world(config);
        const Error error = error_of([&] { world.deploy(world.request()); });
        CHECK(error.code() == Code::failed);
        CHECK(error.details()["stage"] == Value("starting"));
        world.nothing_left();
    }
}

TEST_CASE("a cancelled deployment is undone") {
    World world;
    world.options.start_window = std::chrono::minutes(5);
    world.deployments = std::make_unique<Deployments>(world.store, world.operations, world.instances,
                                                      world.runtimes, world.options);
    auto events = world.events.subscribe();
    const auto operation = world.deployments->deploy(world.request(), "local");
    // Its instance is written down before it lives, so this comes while the deployment watches it.
    while (world.null.instance_count() == 0 && !operation->finished()) {
        events->next(deadline_in(std::chrono::milliseconds(20)));
    }
    operation->cancel("somebody asked for it");
    CHECK(error_of([&] { operation->wait(); }).code() == Code::cancelled);
    world.nothing_left();
}

TEST_CASE("a container that is stopped without removal stays, and goes when it is removed") {
    World world;
    const auto name = world.deploy(world.request())["container_name"].string_or("");
    CHECK(world.deployments->stop("local", name, false)->wait()["removed"] == Value(false));
    CHECK(world.deployments->list("local", false) == Value::array());
    CHECK(world.deployments->list("local", true).if_array()->size() == 1);
    world.deployments->stop("local", name, true)->wait();
    CHECK(error_of([&] { world.deployments->stop("local", name, true)->wait(); }).code() == Code::not_found);
    world.nothing_left();
}

TEST_CASE("instances that are no deployments are not found here, whatever their name and labels") {
    World world;
    CreateRequest create;
    create.name = "jules-agent-fake-1234567890";
    create.spec.image = "x";
    create.spec.labels = {{"deployment", "abcdefghijkl"}, {"agent", "fake"}};
    world.instances.create(create)->wait();
    CHECK(world.deployments->list("local", true) == Value::array());
    CHECK(error_of([&] { world.deployments->stop("local", create.name, true); }).code() == Code::not_found);
    CHECK(error_of([&] { world.deployments->health("local", create.name, "/", {}); }).code() ==
          Code::not_found);
    CHECK(world.null.instance_count() == 1);
    CHECK(error_of([&] { world.deployments->stop("local", "../a", true); }).code() == Code::invalid);
}

TEST_CASE("twenty deployments of one name at once all get a container of their own") {
    World world({}, 2);
    const auto wanted = world.request();
    std::vector<OperationPtr> operations;
    for (int number = 0; number < 20; ++number)
        operations.push_back(world.deployments->deploy(wanted, "local"));
    std::set<std::string> names;
    for (const auto& operation : operations) names.insert(operation->wait()["container_name"].string_or(""));
    CHECK(names.size() == 20);
    CHECK(world.deployments->list("local", false).if_array()->size() == 20);
}

TEST_CASE("without a healthy runtime everything is not implemented, and says why") {
    World world;
    const auto wanted = world.request();
    world.runtimes.healthy = false;
    const auto refused = [](const std::function<void()>& what) {
        const Error error = error_of(what);
        CHECK(error.code() == Code::not_implemented);
        CHECK(error.message().find("null: no engine at /nonexistent/docker.sock") != std::string::npos);
    };
    refused([&] { world.deployments->deploy(wanted, "local"); });
    refused([&] { world.deployments->list("local", true); });
    refused([&] { world.deployments->stop("local", "a", true); });
    refused([&] { world.deployments->health("local", "a", "/", {}); });
}

TEST_CASE("what a former daemon left is removed at the start") {
    World world;
    DeploymentRow row;
    row.id = "abcdefghijkl";
    row.owner = "local";
    row.agent_name = "agent";
    row.status = "deploying";
    row.created_at = now_rfc3339();
    world.store.transact([&](Transaction& t) { t.insert_deployment(row); });
    {
        // A daemon that dies runs no destructor: the same directory and row are made by hand.
        const auto path = world.directory / "minions-deployment-abcdefghijkl";
        write(path / "tree/file", "x");
        JournalRecord record;
        record.row.kind = "directory";
        record.row.key = path;
        record.created_at = now_rfc3339();
        world.store.transact([&](Transaction& t) { t.insert_journal(record); });
    }
    CHECK(world.deployments->recover().empty());
    world.nothing_left();
    CHECK(world.store.transact([&](Transaction& t) { return t.deployment(row.id); })->status == "failed");
}

TEST_CASE("a journal row that names something else removes nothing") {
    World world;
    write(world.directory / "precious/file", "x");
    JournalRecord record;
    record.row.kind = "directory";
    record.row.key = world.directory / "precious";
    record.created_at = now_rfc3339();
    world.store.transact([&](Transaction& t) { t.insert_journal(record); });
    CHECK(world.deployments->recover().size() == 1);
    CHECK(std::filesystem::exists(world.directory / "precious/file"));
}
