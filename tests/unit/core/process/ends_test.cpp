#include "tests/unit/core/process/support.hpp"

using namespace minions;
using namespace minions::core;

TEST_CASE("everybody who watches a process learns how it ended") {
    Services services;
    FdPair pipe = make_pipe();
    std::vector<Fd> pass;
    pass.push_back(std::move(pipe.first));
    const auto started =
        services.call().processes().start(Services::spec("read line <&3; exit 7"), std::move(pass));
    const auto found = services.call().processes().find("vmm");
    { const auto gave_up = services.call().processes().find("vmm"); }
    CHECK(silent(started));
    CHECK(silent(*found));
    pipe.second.reset();
    for (const SupervisedProcess* each : {&started, &*found}) {
        const auto end = end_of(*each);
        REQUIRE(end);
        CHECK(end->exit_code == 7);
        CHECK_FALSE(end->signal);
    }
    // Who comes late too.
    const auto late = services.call().processes().find("vmm");
    CHECK(late->info.pid == started.info.pid);
    CHECK(end_of(*late)->exit_code == 7);
}

TEST_CASE("a process outlives the daemon, which finds it again") {
    Services services;
    const auto started = services.run("exec sleep 1000");
    services.parts.reset();
    CHECK_FALSE(end_of(started));  // the daemon went away; the process did not
    CHECK(lives(started.info));
    services.start();
    const auto found = services.call().processes().find("vmm");
    REQUIRE(found);
    CHECK(found->info.pid == started.info.pid);
    CHECK(found->info.start_time == started.info.start_time);
    CHECK(silent(*found));
    CHECK(error_of([&] { services.run("true"); }).code() == Code::conflict);
    REQUIRE(::kill(static_cast<pid_t>(started.info.pid), SIGTERM) == 0);
    CHECK(end_of(*found)->signal == SIGTERM);
}

TEST_CASE("an end that came while there was no daemon is known") {
    Services services;
    const auto started = services.run("exec sleep 1000");
    const auto record = services.record();
    services.parts.reset();
    REQUIRE(::kill(record.pid, SIGSEGV) == 0);
    REQUIRE(ends(record.shim_pid, record.shim_start_time));
    services.start();
    const auto found = services.call().processes().find("vmm");
    REQUIRE(found);
    CHECK(end_of(*found)->signal == SIGSEGV);
}

TEST_CASE("a process whose shim is gone is watched and killed all the same") {
    Services services;
    const auto started = services.run("exec sleep 1000");
    const auto record = services.record();
    REQUIRE(::kill(record.shim_pid, SIGKILL) == 0);
    REQUIRE(ends(record.shim_pid, record.shim_start_time));
    CHECK(lives(started.info));
    const auto found = services.call().processes().find("vmm");
    CHECK(silent(*found));
    CHECK(error_of([&] { services.run("true"); }).code() == Code::conflict);
    SECTION("it ends by itself") {
        REQUIRE(::kill(record.pid, SIGTERM) == 0);
        // Nobody could see how.
        for (const SupervisedProcess* each : {&started, &*found}) {
            const auto end = end_of(*each);
            REQUIRE(end);
            CHECK_FALSE(end->exit_code);
            CHECK_FALSE(end->signal);
        }
    }
    SECTION("it is killed") { services.call().processes().kill("vmm"); }
    CHECK_FALSE(lives(started.info));
    CHECK(end_of(services.run("exit 0"))->exit_code == 0);
}

TEST_CASE("a shim that hangs does not keep a kill from ending") {
    Services services;
    const auto started = services.run("exec sleep 1000");
    const auto record = services.record();
    REQUIRE(::kill(record.shim_pid, SIGSTOP) == 0);
    services.call().processes().kill("vmm");
    CHECK_FALSE(lives(started.info));
    CHECK(ends(record.shim_pid, record.shim_start_time));
    CHECK(end_of(started));
}

TEST_CASE("a recycled pid is neither found alive nor signalled") {
    Services services;
    services.call().processes().home();
    SpawnOptions options;
    options.argv = {"/bin/sleep", "1000"};
    auto bystander = spawn(std::move(options));
    shim::ProcessRecord record;
    record.pid = bystander.pid();
    record.start_time = *process_start_time(bystander.pid()) - 1;
    record.shim_pid = bystander.pid();
    record.shim_start_time = record.start_time;
    SECTION("of another start") { record.boot = shim::boot_id(); }
    SECTION("of another boot") {
        record.start_time += 1;
        record.shim_start_time = record.start_time;
        record.boot = "another";
    }
    write_file_atomic((services.home() / "vmm.process").string(), text_of(record), 0600);
    const auto found = services.call().processes().find("vmm");
    REQUIRE(found);
    const auto end = end_of(*found);
    REQUIRE(end);
    CHECK_FALSE(end->exit_code);
    CHECK_FALSE(end->signal);
    services.call().processes().kill("vmm");
    CHECK_FALSE(bystander.wait(Deadline()));
    CHECK_FALSE(services.call().processes().find("vmm"));
}

TEST_CASE("a record that a crash of the host cut off means a process that is over") {
    Services services;
    services.call().processes().home();
    write_file_atomic((services.home() / "vmm.process").string(), "pid 12", 0600);
    const auto found = services.call().processes().find("vmm");
    REQUIRE(found);
    CHECK(found->info.pid == 0);
    CHECK(end_of(*found));
    CHECK(end_of(services.run("exit 4"))->exit_code == 4);
}
