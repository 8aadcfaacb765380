#include <minions/base/failpoint.hpp>
#include <minions/base/spawn.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <future>
#include <thread>

using namespace minions;
using namespace std::chrono_literals;

#ifndef MINIONS_NO_FAILPOINTS

namespace {

void make_widget() {
    MINIONS_FAILPOINT("test.widget.before");
    [] { MINIONS_FAILPOINT("test.widget.after"); }();
}

[[gnu::used]] void never_called() { MINIONS_FAILPOINT("test.never"); }

/// Which of so many calls failed, one letter a call.
std::string outcomes(int calls) {
    std::string text;
    for (int i = 0; i < calls; ++i) {
        try {
            make_widget();
            text += '.';
        } catch (const FailpointError&) {
            text += 'F';
        }
    }
    return text;
}

struct Cleared {
    Cleared() = default;
    Cleared(const Cleared&) = delete;
    ~Cleared() { set_failpoints(""); }
};

/// A copy of this program that passes the points twice in the hidden case below, with these settings.
RunResult child(const std::string& settings) {
    SpawnOptions options;
    options.argv = {std::filesystem::read_symlink("/proc/self/exe").string(), "passes points"};
    options.env = {"MINIONS_FAILPOINTS=" + settings};
    RunLimits limits;
    limits.deadline = deadline_in(60s);
    return run(std::move(options), limits);
}

}  // namespace

TEST_CASE("passes points", "[.]") {
    make_widget();
    make_widget();
}

TEST_CASE("failpoints are listed before they are passed") {
    const auto names = failpoint_names();
    CHECK(std::count(names.begin(), names.end(), "test.widget.before") == 1);
    CHECK(std::count(names.begin(), names.end(), "test.widget.after") == 1);
    CHECK(std::count(names.begin(), names.end(), "test.never") == 1);
}

TEST_CASE("a failpoint fails when it was told to, and only then") {
    const Cleared cleared;
    CHECK(outcomes(3) == "...");
    set_failpoint("test.widget.before", "fail");
    CHECK(outcomes(3) == "FFF");
    set_failpoint("test.widget.before", "");
    CHECK(outcomes(3) == "...");

    set_failpoint("test.widget.after", "fail@2");
    CHECK(outcomes(4) == ".F..");
    set_failpoint("test.widget.after", "fail*2");
    CHECK(outcomes(4) == "FF..");
    set_failpoint("test.widget.after", "fail@2*2");
    CHECK(outcomes(5) == ".FF..");

    set_failpoints("test.widget.before=fail@2;test.widget.after = fail@2 ;");
    CHECK(outcomes(4) == ".FF.");  // the second never came to the second point
    set_failpoints("");
    CHECK(outcomes(2) == "..");
}

TEST_CASE("a setting for every point leaves those out that have their own") {
    const Cleared cleared;
    set_failpoints("*=fail@2; test.widget.before=note");
    CHECK(outcomes(3) == ".F.");
}

TEST_CASE("a failpoint says its name") {
    const Cleared cleared;
    set_failpoint("test.widget.after", "fail");
    CHECK_THROWS_WITH(make_widget(), "failpoint test.widget.after");
}

TEST_CASE("a failpoint delays") {
    const Cleared cleared;
    set_failpoint("test.widget.after", "delay:30");
    const auto start = std::chrono::steady_clock::now();
    make_widget();
    CHECK(std::chrono::steady_clock::now() - start >= 30ms);
}

TEST_CASE("a failpoint holds its caller until it is cleared") {
    const Cleared cleared;
    set_failpoint("test.widget.before", "hang");
    std::promise<void> done;
    std::jthread caller([&] {
        make_widget();
        done.set_value();
    });
    auto passed = done.get_future();
    CHECK(passed.wait_for(50ms) == std::future_status::timeout);
    set_failpoint("test.widget.before", "");
    CHECK(passed.wait_for(60s) == std::future_status::ready);
}

TEST_CASE("mistakes in failpoints are refused") {
    const Cleared cleared;
    for (const char* action :
         {"explode", "fail@", "fail@0", "fail*x", "delay", "delay:", "abort:3", "fail@1@2", "@1"})
        CHECK_THROWS_AS(set_failpoint("test.widget.before", action), std::invalid_argument);
    CHECK_THROWS_AS(set_failpoint("test.widget", "fail"), std::invalid_argument);
    CHECK_THROWS_AS(set_failpoints("test.widget.before"), std::invalid_argument);
    CHECK_THROWS_AS(set_failpoints("=fail"), std::invalid_argument);
    CHECK(outcomes(1) == ".");
}

TEST_CASE("the environment sets failpoints") {
    const RunResult noted = child("*=note");
    CHECK(noted.success());
    CHECK(noted.err ==
          "failpoint test.widget.before: note\nfailpoint test.widget.after: note\n"
          "failpoint test.widget.before: note\nfailpoint test.widget.after: note\n");

    const RunResult aborted = child("test.widget.after=abort@2; unknown.here=abort");
    CHECK(aborted.status.signal == SIGKILL);
    CHECK(aborted.err == "failpoint test.widget.after: abort@2\n");

    CHECK(child("list").err ==
          "failpoint test.never\nfailpoint test.widget.after\nfailpoint test.widget.before\n");

    const RunResult mistaken = child("test.widget.before=explode");
    CHECK(mistaken.status.code == 2);
    CHECK(mistaken.err.find("'explode'") != std::string::npos);
    CHECK(child("").err.empty());
}

#endif
