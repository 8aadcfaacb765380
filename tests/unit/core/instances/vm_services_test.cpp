#include "tests/unit/core/instances/fake_runtime.hpp"

using namespace minions;
using namespace minions::core;

namespace {

/// What core is asked to undo of VMs; offers nothing.
struct Asked {
    std::vector<std::string> released;  ///< "instance kind key"
    std::vector<std::string> ended;     ///< instances, of those whose `still` held
    std::size_t calls = 0;              ///< of ended()
    std::function<void()> within_ended;
};

class AskedServices final : public VmServices {
  public:
    AskedServices(Sync<Asked>& asked, std::condition_variable& changed, std::string instance)
        : asked_(asked), changed_(changed), instance_(std::move(instance)) {}
    Network& network() override { throw Error{Code::unavailable, "none"}; }
    Processes& processes() override { throw Error{Code::unavailable, "none"}; }
    Images& images() override { throw Error{Code::unavailable, "none"}; }
    void release(const JournalRow& row) override {
        if (row.key == "resists") throw Error{Code::failed, "it resists"};
        asked_.lock()->released.push_back(row.instance + " " + row.kind + " " + row.key);
        changed_.notify_all();
    }
    void ended(const std::function<bool()>& still) override {
        if (const auto within = asked_.lock()->within_ended) within();
        const bool holds = still();
        {
            const auto now = asked_.lock();
            ++now->calls;
            if (holds) now->ended.push_back(instance_);
        }
        changed_.notify_all();
    }

  private:
    Sync<Asked>& asked_;
    std::condition_variable& changed_;
    std::string instance_;
};

struct VmWorld : World {
    explicit VmWorld(RuntimeKind kind) : kind_(kind) { offer(); }
    ~VmWorld() { daemon.reset(); }  // before what its threads use
    void offer() {
        daemon->runtimes.set_kind(kind_);
        daemon->operations.offer([this](VmCall call) -> std::unique_ptr<VmServices> {
            return std::make_unique<AskedServices>(asked, changed, call.instance);
        });
    }
    /// The runtime says so by itself.
    void report(const std::string& name, Status status) {
        const auto row = instances().get({name})->row;
        InstanceFacts facts;
        facts.status = status;
        instances().report("fake", {row.id, row.boot, facts});
    }
    bool wait_asked(const std::function<bool(const Asked&)>& enough) {
        return asked.lock().wait_until(changed, soon(), enough);
    }

    Sync<Asked> asked;
    std::condition_variable changed;

  private:
    RuntimeKind kind_;
};

}  // namespace

TEST_CASE("what a VM had for its life is undone when it ends by itself") {
    VmWorld world(RuntimeKind::vm);
    world.create("a");
    world.create("b");
    const std::string id = world.instances().get({"a"})->row.id;
    world.report("b", Status::paused);
    world.report("a", Status::error);
    REQUIRE(world.wait_asked([](const Asked& now) { return now.calls == 1; }));
    CHECK(world.asked.lock()->ended == std::vector<std::string>{id});
    CHECK(world.status("a") == Status::error);
}

TEST_CASE("what a VM had for its life is undone when it ends during an operation") {
    VmWorld world(RuntimeKind::vm);
    world.create("a");
    const std::string id = world.instances().get({"a"})->row.id;
    const auto dies = [&] {
        world.runtime.state.lock()->instances[id].status = Status::error;
        world.report("a", Status::error);
    };
    SECTION("and the operation fails of it") {
        world.runtime.within_pause = [&] {
            dies();
            throw Error{Code::failed, "the VMM is gone"};
        };
        CHECK_THROWS_AS(world.instances().pause({"a"})->wait(soon()), Error);
    }
    SECTION("and the operation has not noticed") {
        world.runtime.within_pause = dies;
        world.instances().pause({"a"})->wait(soon());
        // What it returned is older than the report.
        CHECK(world.status("a") == Status::error);
    }
    SECTION("and the end is what the operation wants") { world.instances().stop({"a"})->wait(soon()); }
    REQUIRE(world.wait_asked([](const Asked& now) { return now.calls == 1; }));
    CHECK(world.asked.lock()->ended == std::vector<std::string>{id});
}

TEST_CASE("a start that comes first keeps what it makes") {
    VmWorld world(RuntimeKind::vm);
    world.create("a");
    OperationPtr start;
    world.asked.lock()->within_ended = [&] { start = world.instances().start({"a"}); };
    world.report("a", Status::stopped);
    REQUIRE(world.wait_asked([](const Asked& now) { return now.calls == 1; }));
    CHECK(world.asked.lock()->ended.empty());
    start->wait(soon());
    CHECK(world.status("a") == Status::running);
}

TEST_CASE("a container's end costs nothing") {
    VmWorld world(RuntimeKind::container);
    world.create("a");
    world.report("a", Status::stopped);
    world.daemon.reset();  // ends the background work
    CHECK(world.asked.lock()->calls == 0);
}

TEST_CASE("an end while there was no daemon is undone at the next start") {
    VmWorld world(RuntimeKind::vm);
    world.create("a");
    const std::string id = world.instances().get({"a"})->row.id;
    world.restart();
    world.offer();
    world.runtime.state.lock()->instances[id].status = Status::stopped;
    world.instances().start();
    REQUIRE(world.wait_asked([](const Asked& now) { return now.calls == 1; }));
    CHECK(world.asked.lock()->ended == std::vector<std::string>{id});
}

TEST_CASE("rows of core itself that no instance owns are undone at the start") {
    VmWorld world(RuntimeKind::vm);
    world.create("a");
    const std::string id = world.instances().get({"a"})->row.id;
    world.daemon->store.transact([&](Transaction& transaction) {
        transaction.insert_journal({{0, id, "process", "vmm", true}, "", "", ""});
        transaction.insert_journal({{0, "", "iptables", "rule", true}, "", "", ""});
        transaction.insert_journal({{0, "gonegonegone", "directory", "/x", true}, "", "", ""});
        transaction.insert_journal({{0, "gonegonegone", "process", "resists", true}, "", "", ""});
        transaction.insert_journal({{0, "gonegonegone", "process", "vmm", false}, "", "", ""});
    });
    world.restart();
    world.offer();
    world.instances().start();
    REQUIRE(world.wait_asked([](const Asked& now) { return now.released.size() == 2; }));
    CHECK(world.asked.lock()->released ==
          std::vector<std::string>{"gonegonegone process vmm", "gonegonegone directory /x"});
    REQUIRE(world.instances().wait_recovered(soon()));
    world.daemon.reset();  // ends the background work
    Store store(world.directory.path());
    store.transact([&](Transaction& transaction) {
        std::vector<std::string> left;
        for (const JournalRecord& each : transaction.journal())
            if (each.runtime.empty()) left.push_back(each.row.kind + " " + each.row.key);
        CHECK(left == std::vector<std::string>{"process resists", "iptables rule", "process vmm"});
    });
}
