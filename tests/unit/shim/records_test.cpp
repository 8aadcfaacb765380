#include "shim/records.hpp"

#include <catch2/catch.hpp>

using namespace minions;

TEST_CASE("records say what was written, or nothing") {
    const shim::ProcessRecord process{12, 34, 56, 78, "boot-id"};
    const std::string text = text_of(process);
    CHECK(shim::process_record(text) == process);
    // As a crash of the host may cut it.
    for (std::size_t size = 0; size < text.size(); ++size) {
        INFO(size);
        CHECK_FALSE(shim::process_record(text.substr(0, size)));
    }
    CHECK_FALSE(shim::process_record("pid x\nstart_time 1\nshim_pid 1\nshim_start_time 1\nboot b\n"));
    CHECK_FALSE(shim::process_record("pid -1\nstart_time 1\nshim_pid 1\nshim_start_time 1\nboot b\n"));

    const auto end = shim::exit_record(text_of(shim::ExitRecord{12, 34, {-1, 9}}));
    REQUIRE(end);
    CHECK(end->pid == 12);
    CHECK(end->start_time == 34);
    CHECK(end->status.signal == 9);
    CHECK(end->status.code == -1);
    CHECK_FALSE(shim::exit_record("pid 12\nstart_time 34\ncode 0\n"));
}

TEST_CASE("a report arrives as it was made") {
    const shim::ProcessRecord process{12, 34, 56, 78, "boot-id"};
    const auto running = shim::report(text_of(shim::Report{shim::Report::Kind::running, process, 0, ""}));
    REQUIRE(running);
    CHECK(running->kind == shim::Report::Kind::running);
    CHECK(running->process == process);
    CHECK(shim::report(text_of(shim::Report{shim::Report::Kind::conflict, {}, 0, ""}))->kind ==
          shim::Report::Kind::conflict);
    const auto failed = shim::report(text_of(
        shim::Report{shim::Report::Kind::failed, {}, 2, "no\nreport running\n" + std::string(99999, 'x')}));
    REQUIRE(failed);
    CHECK(failed->kind == shim::Report::Kind::failed);
    CHECK(failed->error == 2);
    CHECK(failed->message.starts_with("no report running x"));
    CHECK_FALSE(shim::report("report something\n"));
    CHECK_FALSE(shim::report(""));
}
