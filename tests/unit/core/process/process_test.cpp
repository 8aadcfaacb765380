#include "tests/unit/core/process/support.hpp"

#include <sys/sysmacros.h>

#include <thread>

using namespace minions;
using namespace minions::core;
using Catch::Matchers::Contains;

namespace {
using Rows = std::vector<std::string>;
}

TEST_CASE("an instance has a home of its own that only its group passes through") {
    Services services;
    auto call = services.call();
    const ProcessHome home = call.processes().home();
    CHECK(home.directory == services.home());
    CHECK(home.run_directory == services.run_home());
    const bool root = ::geteuid() == 0;
    for (const auto& path : {services.home(), services.run_home()}) {
        struct stat status {};
        REQUIRE(::stat(path.c_str(), &status) == 0);
        CHECK((status.st_mode & 07777U) == (root ? 0710U : 0700U));
        CHECK(status.st_uid == ::geteuid());
        CHECK(status.st_gid == static_cast<gid_t>(home.gid));
        REQUIRE(::stat(path.parent_path().c_str(), &status) == 0);
        CHECK((status.st_mode & 07777U) == 0711U);
    }
    CHECK(services.directories().size() == 2);
    services.run("exit 0");
    for (const JournalRow& row : services.directories()) CHECK(row.held);

    // As after a reboot.
    std::filesystem::remove_all(services.options.run_dir / "vms");
    CHECK(services.call().processes().home().uid == home.uid);
    CHECK(std::filesystem::is_directory(services.run_home()));
    CHECK(services.directories().size() == 2);

    services.instance = services.add("b");
    const ProcessHome other = services.call().processes().home();
    CHECK(other.gid == home.gid);
    CHECK((other.uid != home.uid) == root);
    if (root) CHECK(home.uid == services.options.uid_first);
}

TEST_CASE("more VMs than users are refused") {
    if (::geteuid() != 0) return;
    Services services;
    services.options.uid_count = 1;
    services.restart();
    services.call().processes().home();
    services.instance = services.add("b");
    CHECK(error_of([&] { services.call().processes().home(); }).code() == Code::no_space);
    CHECK(services.directories().size() == 2);
}

TEST_CASE("a process starts as its instance's user, is found, and is killed") {
    Services services;
    FdPair said = make_pipe();
    std::vector<Fd> pass;
    pass.push_back(std::move(said.second));
    const auto started = services.call().processes().start(
        Services::spec("echo hello; exec 3>&-; exec sleep 1000"), std::move(pass));
    CHECK(read_file(said.first.get(), 1).empty());  // it has said hello
    CHECK(lives(started.info));
    CHECK(services.rows() == Rows{"process vmm"});
    CHECK(services.record().pid == started.info.pid);
    const auto found = services.call().processes().find("vmm");
    REQUIRE(found);
    CHECK(found->info.pid == started.info.pid);
    CHECK(found->info.start_time == started.info.start_time);
    struct stat status {};
    REQUIRE(::stat(("/proc/" + std::to_string(started.info.pid)).c_str(), &status) == 0);
    CHECK(status.st_uid == static_cast<uid_t>(services.call().processes().home().uid));

    services.call().processes().kill("vmm");
    CHECK_FALSE(lives(started.info));
    CHECK(end_of(started)->signal == SIGKILL);
    CHECK(end_of(*found)->signal == SIGKILL);
    CHECK_FALSE(services.call().processes().find("vmm"));
    CHECK(services.rows().empty());
    for (const char* name : {"vmm.process", "vmm.exit", "vmm.lock"})
        CHECK_FALSE(std::filesystem::exists(services.home() / name));
    CHECK_THAT(services.text("vmm.out"), Contains("hello"));
    services.call().processes().kill("vmm");  // repeatable
    services.call().processes().kill("never");
}

TEST_CASE("a process joins the groups of its devices, but not root's") {
    if (::geteuid() != 0) return;
    Services services;
    const auto device = [&](const char* name, gid_t group, mode_t mode) {
        const auto path = (services.directory.path() / name).string();
        REQUIRE(::mknod(path.c_str(), S_IFCHR, ::makedev(1, 3)) == 0);
        REQUIRE(::chown(path.c_str(), 0, group) == 0);
        REQUIRE(::chmod(path.c_str(), mode) == 0);
        return path;
    };
    auto spec = Services::spec("id -G");
    spec.devices = {device("kvm", 4242, 0660), device("readable", 4243, 0640), device("root", 0, 0660),
                    "/dev/of/nothing"};
    const auto process = services.call().processes().start(spec, {});
    CHECK(end_of(process)->exit_code == 0);
    CHECK(services.text("vmm.out") == std::to_string(services.options.uid_first) + " 4242\n");
}

TEST_CASE("descriptors and variables reach the process") {
    Services services;
    FdPair pipe = make_pipe();
    std::vector<Fd> pass;
    pass.push_back(std::move(pipe.second));
    auto spec = Services::spec("echo $NAME >&3");
    spec.env["NAME"] = "a value";
    const auto process = services.call().processes().start(spec, std::move(pass));
    CHECK(end_of(process)->exit_code == 0);
    CHECK(read_file(pipe.first.get(), 100) == "a value\n");
}

TEST_CASE("roles are independent, and one of each lives") {
    Services services;
    const auto vmm = services.run("exec sleep 1000");
    const auto other = services.run("exec sleep 1000", "other");
    const Error error = error_of([&] { services.run("exec sleep 1000"); });
    CHECK(error.code() == Code::conflict);
    CHECK(lives(vmm.info));
    CHECK(services.rows() == Rows{"process other", "process vmm"});
    services.call().processes().kill("other");
    CHECK(lives(vmm.info));
    CHECK(services.rows() == Rows{"process vmm"});
}

TEST_CASE("of starts at the same time one wins") {
    Services services;
    std::atomic<int> won{0};
    std::atomic<int> conflicts{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            try {
                services.run("exec sleep 1000");
                ++won;
            } catch (const Error& error) {
                if (error.code() == Code::conflict) ++conflicts;
            }
        });
    for (auto& each : threads) each.join();
    CHECK(won == 1);
    CHECK(conflicts == 3);
    CHECK(services.rows() == Rows{"process vmm"});
}

TEST_CASE("a start that fails leaves nothing") {
    Services services;
    auto spec = Services::spec("");
    spec.argv = {"/nonexistent/vmm"};
    const Error error = error_of([&] { services.call().processes().start(spec, {}); });
    CHECK(error.code() == Code::failed);
    CHECK_THAT(error.message(), Contains("cannot execute /nonexistent/vmm"));
    CHECK(services.rows().empty());
    CHECK(std::filesystem::is_empty(services.home()));
    CHECK_FALSE(services.call().processes().find("vmm"));

    services.options.shim = "/nonexistent/minions-shim";
    services.restart();
    CHECK(error_of([&] { services.run("true"); }).code() == Code::unavailable);
    CHECK(services.rows().empty());

    for (const char* role : {"", "VMM", "a/b", "..", "aaaaaaaaaaaaaaaaa"})
        CHECK(error_of([&] { services.run("true", role); }).code() == Code::invalid);
    spec.argv = {"sh"};
    CHECK(error_of([&] { services.call().processes().start(spec, {}); }).code() == Code::invalid);
    spec = Services::spec("true");
    spec.env = {{"A=B", "c"}};
    CHECK(error_of([&] { services.call().processes().start(spec, {}); }).code() == Code::invalid);
    CHECK(services.rows().empty());
}

TEST_CASE("a start that is cancelled leaves nothing") {
    Services services;
    // A shim that never says how it went, and ends when its starter gives up.
    const auto shim = services.directory.path() / "shim";
    write_file_atomic(shim.string(), "#!/bin/sh\nexec 3<&3; (cat <&3) &\n", 0755);
    services.options.shim = shim;
    services.restart();
    std::thread cancelling([&] { services.cancel.raise(); });
    const Error error = error_of([&] { services.run("true"); });
    cancelling.join();
    services.cancel.clear();
    CHECK(error.code() == Code::cancelled);
    CHECK(services.rows().empty());
}

TEST_CASE("a process that ended makes room for the next") {
    Services services;
    CHECK(end_of(services.run("echo one; exit 1"))->exit_code == 1);
    CHECK(services.rows() == Rows{"process vmm"});
    CHECK(end_of(services.run("echo two; exit 2"))->exit_code == 2);
    CHECK(services.rows() == Rows{"process vmm"});
    CHECK(services.text("vmm.out") == "one\ntwo\n");
    CHECK(end_of(*services.call().processes().find("vmm"))->exit_code == 2);
}
