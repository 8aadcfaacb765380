#include "tests/unit/core/instances/fake_runtime.hpp"

using namespace minions;
using namespace minions::core;
using namespace std::chrono_literals;

TEST_CASE("a create answers with the document, and the runtime got a boot and its state") {
    World world;
    auto request = world.request("a");
    request.spec.environment = {{"SECRET", "hidden"}};
    request.spec.labels = {{"k", "v"}};
    const Value made = world.instances().create(request)->wait(soon());
    CHECK(made["name"].string_or("") == "a");
    CHECK(made["status"].string_or("") == "running");
    CHECK(made["ip"].string_or("") == "10.0.0.2");
    CHECK(made["environment"]["SECRET"].string_or("") == "***");
    const char* first[] = {"name", "status", "ip", "vsock_cid", "cpus", "memory_mb", "pid", "created_at"};
    for (std::size_t i = 0; i < std::size(first); ++i) CHECK(made.if_object()->at(i).first == first[i]);
    const auto view = world.instances().get({"a"});
    CHECK(view->row.boot == 1);
    CHECK(view->row.spec.environment.at("SECRET") == "hidden");
    REQUIRE(view->row.state);
    CHECK(view->row.state->data["made"].string_or("") == view->row.id);
    CHECK(parse_json(*view->json) == made);
    CHECK(world.runtime.state.lock()->seen[view->row.id].boot == 1);
}

TEST_CASE("a create that fails at any step leaves only its diagnosis") {
    for (const std::string step : {"create", "start", "hook"}) {
        CAPTURE(step);
        World world;
        world.runtime.fail(step);
        CreateOptions options;
        options.before_acknowledge = [](OperationContext&, Unacknowledged&) {
            throw Error{Code::failed, "hook fails"}.with("stage", "window");
        };
        const auto operation =
            world.instances().create(world.request("a"), step == "hook" ? options : CreateOptions{});
        const Error error = error_of([&] { operation->wait(soon()); });
        CHECK(error.message() == step + " fails");
        if (step == "hook") CHECK(error.details()["stage"].string_or("") == "window");
        CHECK(world.runtime.empty());
        CHECK(error_of([&] { world.instances().get({"a"}); }).message() == "VM 'a' not found");
        CHECK(*world.instances().list({}).body == "[]");
        const Value diagnosis = world.instances().diagnosis({"a"});
        CHECK(diagnosis["error"]["message"].string_or("") == step + " fails");
        CHECK(diagnosis["stage"].string_or("") == (step == "create"  ? "creating"
                                                   : step == "start" ? "starting"
                                                                     : "checking"));
        if (step != "create") CHECK(diagnosis["log_tail"].if_array()->back().string_or("") == "last");
        CHECK(diagnosis["timings"].find("creating_ms") != nullptr);
        world.daemon->store.transact([](Transaction& transaction) { CHECK(transaction.journal().empty()); });
        // The name is free again.
        world.runtime.fail(step, false);
        CHECK_NOTHROW(world.create("a"));
        CHECK(error_of([&] { world.instances().diagnosis({"a"}); }).code() == Code::not_found);
    }
}

TEST_CASE("rollback destroys first, then releases newest first") {
    World world;
    world.runtime.fail("start");
    CHECK_THROWS(world.create("a"));
    const auto now = world.runtime.state.lock();
    std::vector<std::string> undo(now->calls.end() - 3, now->calls.end());
    CHECK(undo == std::vector<std::string>{"destroy", "release object", "release disk"});
}

TEST_CASE("a rollback that fails keeps the rows, and is finished when the runtime is back") {
    World world;
    world.instances().start();
    REQUIRE(world.instances().wait_recovered(soon()));
    world.runtime.fail("start");
    world.runtime.fail("release");
    CHECK_THROWS(world.create("a"));
    CHECK(world.status("a") == Status::destroying);
    CHECK_FALSE(world.runtime.empty());
    CHECK(error_of([&] { world.create("a"); }).code() == Code::conflict);
    auto reader = world.daemon->events.subscribe();
    world.daemon->runtimes.set_healthy(false);
    world.instances().health_checked("fake");
    world.runtime.fail("release", false);
    world.daemon->runtimes.set_healthy(true);
    world.instances().health_checked("fake");
    world.wait_event(*reader, "instance.destroyed");
    CHECK(world.runtime.empty());
    CHECK(world.instances().diagnosis({"a"})["error"]["message"].string_or("") == "start fails");
}

TEST_CASE("a destroy ends the create under way, which rolls back") {
    World world;
    world.runtime.state.lock()->hanging.insert("start");
    auto reader = world.daemon->events.subscribe();
    const auto create = world.instances().create(world.request("a"));
    world.wait_event(*reader, "instance.changed");  // it has come to start()
    CHECK(error_of([&] { world.instances().stop({"a"}); }).code() == Code::busy);
    CHECK(create->row().stage == "starting");
    const auto destroy = world.instances().destroy({"a"});
    CHECK(destroy->wait(soon())["message"].string_or("") == "VM 'a' destroyed");
    CHECK(error_of([&] { create->wait(soon()); }).code() == Code::cancelled);
    CHECK(world.daemon->operations.find(create->id())->row().stage == "starting");
    CHECK(world.runtime.empty());
}

TEST_CASE("past its deadline a create is rolled back") {
    World world;
    world.runtime.state.lock()->hanging.insert("create");
    ChangeOptions change;
    change.timeout = 50ms;
    const auto operation = world.instances().create(world.request("a"), {}, change);
    const Error error = error_of([&] { operation->wait(); });
    CHECK(error.code() == Code::deadline);
    CHECK(error.details()["operation"].string_or("") == operation->id());
    CHECK(world.runtime.empty());
    CHECK(*world.instances().list({}).body == "[]");
}

TEST_CASE("a spec is checked before anything is made") {
    World world;
    const auto code = [&](const std::function<void(CreateRequest&)>& spoil) {
        auto request = world.request("a");
        spoil(request);
        return error_of([&] { world.instances().create(request); }).code();
    };
    for (const char* name : {"", "A", "-a", "a-", "a_b", "../x", "a b"})
        CHECK(code([&](CreateRequest& request) { request.name = name; }) == Code::invalid);
    CHECK(code([](CreateRequest& request) { request.name = std::string(64, 'a'); }) == Code::invalid);
    CHECK(code([](CreateRequest& request) { request.runtime = "other"; }) == Code::invalid);
    CHECK(code([](CreateRequest& request) { request.spec.image.clear(); }) == Code::invalid);
    CHECK(code([](CreateRequest& request) { request.spec.disk_gb = 1; }) == Code::unsupported_by_runtime);
    CHECK(code([](CreateRequest& request) { request.spec.environment = {{"1A", ""}}; }) == Code::invalid);
    CHECK(code([](CreateRequest& request) {
              request.spec.environment = {{"A", std::string(200000, 'x')}};
          }) == Code::invalid);
    world.daemon->runtimes.set_healthy(false);
    CHECK(code([](CreateRequest&) {}) == Code::unavailable);
    CHECK(world.runtime.count("create") == 0);
}

TEST_CASE("a VM gets the daemon's default image, and one that is not there is refused at once") {
    World world;
    InstancesOptions options;
    options.vm_image = [](const std::string& name) -> std::string {
        if (name == "unknown") throw Error{Code::invalid, "field 'image': image 'unknown' not found"};
        return name.empty() ? "the-default" : name;
    };
    Instances instances(world.daemon->store, world.daemon->events, world.daemon->operations,
                        world.daemon->runtimes, options);
    const auto image_of = [&](const std::string& name, const std::string& image) {
        auto request = world.request(name);
        request.spec.image = image;
        return instances.create(request)->wait(soon())["image"].string_or("");
    };
    world.daemon->runtimes.set_kind(RuntimeKind::vm);
    CHECK(image_of("a", "") == "the-default");
    CHECK(image_of("b", "other") == "other");
    CHECK(error_of([&] { image_of("c", "unknown"); }).code() == Code::invalid);
    world.daemon->runtimes.set_kind(RuntimeKind::container);  // whose engine knows
    CHECK(image_of("c", "unknown") == "unknown");
}

TEST_CASE("a repeated create gets the first outcome, not a conflict") {
    World world;
    ChangeOptions change;
    change.idempotency = {"key", "POST /api/vms", "hash"};
    const auto first = world.instances().create(world.request("a"), {}, change);
    first->wait(soon());
    const auto second = world.instances().create(world.request("a"), {}, change);
    CHECK(second->id() == first->id());
    CHECK(second->wait(soon())["name"].string_or("") == "a");
    CHECK(error_of([&] { world.create("a"); }).message() == "VM 'a' already exists");
    CHECK(world.runtime.count("create") == 1);
}

TEST_CASE("a repetition that comes while the first is being committed gets its outcome too") {
    World world;
    ChangeOptions change;
    change.idempotency = {"key", "POST /api/vms", "hash"};
    OperationPtr first;
    world.daemon->runtimes.when_asked = [&] {  // the repetition has asked for its key, and is being checked
        first = world.instances().create(world.request("a"), {}, change);
    };
    const auto second = world.instances().create(world.request("a"), {}, change);
    REQUIRE(first);
    CHECK(second->id() == first->id());
    CHECK(second->wait(soon())["name"].string_or("") == "a");
}

TEST_CASE("a daemon that dies with the acknowledgement has created, and says so") {
    World world;
    const TemporaryDirectory copy;
    CreateOptions options;
    options.acknowledged = [&](Transaction& transaction, const InstanceRow&) {
        transaction.after_commit([&] {  // what a kill right here would leave
            for (const char* file : {"state.db", "state.db-wal", "key"})
                std::filesystem::copy(world.directory.path() / file, copy.path() / file);
        });
    };
    ChangeOptions change;
    change.idempotency = {"key", "POST /api/vms", "hash"};
    const auto created = world.instances().create(world.request("a"), options, change);
    const Value document = created->wait(soon());

    Daemon next(copy.path(), world.runtime);
    next.instances.start();
    REQUIRE(next.instances.wait_recovered(soon()));
    CHECK(next.instances.get({"a"})->status == Status::running);
    const auto repeated = next.instances.create(world.request("a"), {}, change);
    CHECK(repeated->id() == created->id());
    CHECK(repeated->wait(soon()) == document);
}

TEST_CASE("changes that are ended before they had a thread leave everything as it was") {
    World world;
    world.daemon.reset();
    OperationsOptions narrow;
    narrow.threads = 1;
    world.daemon = std::make_unique<Daemon>(world.directory.path(), world.runtime, narrow);
    world.create("a");
    world.runtime.state.lock()->hanging.insert("create");
    auto reader = world.daemon->events.subscribe();
    const auto hanging = world.instances().create(world.request("hanging"));
    world.wait_event(*reader, "instance.creating");

    const auto create = world.instances().create(world.request("b"));
    CHECK(world.status("b") == Status::creating);
    create->cancel("enough");
    CHECK(error_of([&] { create->wait(soon()); }).message() == "enough");
    CHECK(error_of([&] { world.instances().get({"b"}); }).code() == Code::not_found);
    CHECK(world.instances().diagnosis({"b"})["error"]["message"].string_or("") == "enough");

    ChangeOptions brief;
    brief.timeout = 50ms;
    const auto stop = world.instances().stop({"a"}, {}, brief);
    CHECK(error_of([&] { stop->wait(soon()); }).code() == Code::deadline);
    CHECK(world.status("a") == Status::running);
    CHECK(world.runtime.count("stop") == 0);

    const auto restart = world.instances().restart({"a"});
    CHECK(world.status("a") == Status::stopping);
    restart->cancel("enough");
    CHECK(error_of([&] { restart->wait(soon()); }).code() == Code::cancelled);
    CHECK(world.status("a") == Status::running);

    CHECK_FALSE(hanging->finished());
    CHECK_NOTHROW(world.instances().destroy({"a"})->wait(soon()));
}

TEST_CASE("twenty creates of one name at once make one instance") {
    World world;
    std::atomic<int> made{0};
    std::atomic<int> refused{0};
    std::vector<std::thread> clients;
    for (int i = 0; i < 20; ++i)
        clients.emplace_back([&] {
            try {
                world.create("a");
                ++made;
            } catch (const Error& error) {
                if (error.code() == Code::conflict) ++refused;
            }
        });
    for (auto& client : clients) client.join();
    CHECK(made == 1);
    CHECK(refused == 19);
}

TEST_CASE("a window sees the end that the runtime reports, and a create within an operation rolls back") {
    World world;
    CreateOptions options;
    options.before_acknowledge = [&](OperationContext&, Unacknowledged& unacknowledged) {
        CHECK(world.status("a") == Status::creating);
        CHECK_FALSE(unacknowledged.wait_for_end(std::chrono::steady_clock::now()));
        InstanceFacts ended;
        ended.status = Status::stopped;
        ended.exit_code = 3;
        world.instances().report("fake",
                                 {unacknowledged.instance().id, unacknowledged.instance().boot, ended});
        CHECK(unacknowledged.wait_for_end(soon()));
        CHECK(unacknowledged.facts().exit_code == 3);
        throw Error{Code::failed, "ended with 3"};
    };
    OperationRequest deploy;
    deploy.kind = "deployment.deploy";
    deploy.subject = "d";
    deploy.work = [&](OperationContext& context) -> Value {
        const auto kept = world.instances().create_within(context, world.request("kept"));
        CHECK(world.daemon->operations.owner_of(kept->row.id)->id() == context.id());
        world.instances().create_within(context, world.request("a"), options);
        return {};
    };
    const auto operation = world.daemon->operations.start(deploy);
    CHECK(error_of([&] { operation->wait(soon()); }).message() == "ended with 3");
    CHECK(world.status("kept") == Status::running);
    CHECK(error_of([&] { world.instances().get({"a"}); }).code() == Code::not_found);
    CHECK_NOTHROW(world.instances().stop({"kept"})->wait(soon()));
}
