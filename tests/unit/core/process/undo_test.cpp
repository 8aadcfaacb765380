#include "core/process/home.hpp"
#include "tests/unit/core/process/support.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/base/spawn.hpp>

#include <fcntl.h>
#include <sys/file.h>

using namespace minions;
using namespace minions::core;

namespace {

JournalRow row(const Services& services, const std::string& kind, const std::string& key) {
    JournalRow made;
    made.instance = services.instance;
    made.kind = kind;
    made.key = key;
    return made;
}

}  // namespace

TEST_CASE("rows of processes and directories are undone, in either state") {
    Services services;
    const auto started = services.run("exec sleep 1000");
    std::filesystem::create_directories(services.run_home() / "life/deep");
    std::filesystem::create_symlink(services.directory.path(), services.home() / "link");
    auto call = services.call();
    // While the process lives its files stay.
    CHECK(error_of([&] { call.release_own(row(services, "directory", services.home())); }).code() ==
          Code::conflict);
    CHECK(lives(started.info));
    call.release_own(row(services, "process", "vmm"));
    CHECK_FALSE(lives(started.info));
    for (const auto& path : {services.home(), services.run_home()}) {
        call.release_own(row(services, "directory", path));
        CHECK_FALSE(std::filesystem::exists(path));
        call.release_own(row(services, "directory", path));
    }
    CHECK(std::filesystem::exists(services.options.state_dir / "state.db"));
    call.release_own(row(services, "process", "vmm"));
    CHECK(error_of([&] { call.release_own(row(services, "moon", "x")); }).code() == Code::failed);
}

TEST_CASE("a start that fails at any step leaves nothing") {
    for (const char* point : {"process.intend.before", "process.spawn.before", "process.spawn.after",
                              "process.keep.before", "process.keep.after"}) {
        INFO(point);
        Services services;
        set_failpoint(point, "fail");
        CHECK_THROWS(services.run("exec sleep 1000"));
        set_failpoint(point, "");
        CHECK(services.rows().empty());
        CHECK(std::filesystem::is_empty(services.home()));
        CHECK(end_of(services.run("exit 0"))->exit_code == 0);
    }
}

TEST_CASE("a process whose shim is killed before it could record it is ended") {
    Services services;
    FdPair said = make_pipe();
    auto spec = Services::spec("exec sleep 1000");
    spec.env["MINIONS_FAILPOINTS"] = "shim.record.before=abort";
    std::vector<Fd> pass;
    pass.push_back(std::move(said.second));
    const Error error = error_of([&] { services.call().processes().start(spec, std::move(pass)); });
    CHECK(error.code() == Code::unavailable);
    CHECK(read_file(said.first.get(), 1).empty());  // its end of the pipe is closed
    CHECK(services.rows().empty());
    CHECK(std::filesystem::is_empty(services.home()));
}

TEST_CASE("a lock that no record explains is nobody's: whoever holds it is ended") {
    for (const bool start : {true, false}) {
        Services services;
        services.call().processes().home();
        const std::string path = services.home() / "vmm.lock";
        SpawnOptions holder;
        holder.argv = {"sleep", "1000"};
        Fd lock(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600));
        REQUIRE(::flock(lock.get(), LOCK_EX) == 0);
        holder.fds.emplace_back(3, std::move(lock));
        auto process = spawn(std::move(holder));
        if (start) {
            CHECK(end_of(services.run("exit 0"))->exit_code == 0);
        } else {
            services.call().processes().kill("vmm");
            CHECK(std::filesystem::is_empty(services.home()));
        }
        REQUIRE(process.wait(deadline_in(std::chrono::seconds(20))));
        CHECK(process.wait()->signal == SIGKILL);
    }
}

TEST_CASE("only directories of the instance are removed") {
    Services services;
    services.call().processes().home();
    const auto precious = services.directory.path() / "precious";
    std::filesystem::create_directory(precious);
    const std::string other = services.add("b");
    auto call = services.call();
    for (const std::string& path : {precious.string(), services.options.state_dir.string(),
                                    (services.options.state_dir / "vms").string(),
                                    services.home().string() + "/..", services.home().string() + "/"}) {
        INFO(path);
        CHECK(error_of([&] { call.release_own(row(services, "directory", path)); }).code() == Code::failed);
    }
    CHECK(std::filesystem::exists(precious));
    CHECK(std::filesystem::exists(services.home()));
    // Made under other settings, and gone.
    call.release_own(row(services, "directory", "/nonexistent/vms/" + services.instance));
}

TEST_CASE("what an instance had for a life goes with it, unless the next has begun") {
    Services services;
    const auto vmm = services.run("exec sleep 1000");
    const auto other = services.run("exec sleep 1000", "other");
    services.call().ended([] { return false; });
    CHECK(lives(vmm.info));
    services.call().ended([] { return true; });
    CHECK_FALSE(lives(vmm.info));
    CHECK_FALSE(lives(other.info));
    CHECK(services.rows().empty());
    CHECK(std::filesystem::exists(services.home()));
    services.call().ended([] { return true; });
}

TEST_CASE("a lock of an instance is its thread's, and waited for") {
    InstanceLocks locks;
    const auto soon = [] { return deadline_in(std::chrono::seconds(20)); };
    std::optional<InstanceLocks::Held> held(locks.hold("a", soon()));
    { const auto again = locks.hold("a", soon()); }
    bool refused = false;
    bool other = false;
    std::thread([&] {
        try {
            const auto late = locks.hold("a", std::chrono::steady_clock::now());
        } catch (const Error& error) {
            refused = error.code() == Code::deadline;
        }
        const auto independent = locks.hold("b", std::chrono::steady_clock::now());
        other = true;
    }).join();
    CHECK(refused);
    CHECK(other);
    std::thread waiting([&] { const auto next = locks.hold("a", SteadyTime::max()); });
    held.reset();
    waiting.join();
}
