#include "core/deployments/log_file.hpp"

#include "tests/unit/core/deployments/support.hpp"

#include <minions/base/event_fd.hpp>

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include <future>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;

namespace {

const std::string id = "abcdefghijkl";

std::string read_all(DeploymentLogs& logs, bool follow = false) {
    std::string text;
    logs.read(id, follow, -1, [&](std::string_view piece) { text += piece; });
    return text;
}

}  // namespace

TEST_CASE("a log is private, and readable while it grows and afterwards") {
    const Directory directory;
    DeploymentLogs logs(directory / "deployments", 1 << 20, 10);
    auto log = logs.create(id);
    log->line("first");
    CHECK(read_all(logs) == "first\n");
    struct stat info {};
    REQUIRE(::stat((directory / "deployments" / (id + ".log")).c_str(), &info) == 0);
    CHECK((info.st_mode & 0777U) == 0600U);
    log.reset();
    CHECK(read_all(logs, true) == "first\n");
}

TEST_CASE("a follower gets every line, and its end when the log is complete") {
    const Directory directory;
    DeploymentLogs logs(directory / "deployments", 1 << 20, 10);
    auto log = logs.create(id);
    log->line("first");
    std::promise<void> began;
    std::string text;
    auto follower = std::async(std::launch::async, [&] {
        logs.read(id, true, -1, [&](std::string_view piece) {
            if (text.empty()) began.set_value();
            text += piece;
        });
    });
    began.get_future().wait();
    for (int number = 0; number < 1000; ++number) log->line(std::to_string(number));
    log.reset();
    follower.get();
    CHECK(text.starts_with("first\n0\n1\n"));
    CHECK(text.ends_with("\n999\n"));
}

TEST_CASE("a follower can be called off") {
    const Directory directory;
    DeploymentLogs logs(directory / "deployments", 1 << 20, 10);
    const auto log = logs.create(id);
    log->line("first");
    EventFd cancel;
    logs.read(id, true, cancel.fd(), [&](std::string_view) { cancel.raise(); });
    SUCCEED("it returned");
}

TEST_CASE("a log is bounded and keeps its end") {
    const Directory directory;
    DeploymentLogs logs(directory / "deployments", 1000, 10);
    auto log = logs.create(id);
    for (int number = 0; number < 100000; ++number) log->line("line " + std::to_string(number));
    CHECK(log->tail(2) == "line 99998\nline 99999");
    log.reset();
    const auto text = read_all(logs);
    CHECK(text.size() < 40000);
    CHECK(text.starts_with("line 0\n"));
    CHECK(text.ends_with("line 99999\n"));
}

TEST_CASE("what is no log is not found") {
    const Directory directory;
    DeploymentLogs logs(directory / "deployments", 1000, 10);
    write(directory / "secret.log", "x");
    for (const char* name : {"abcdefghijkl", "../secret", "", "..", "a/b"}) {
        CHECK(error_of([&] { logs.read(name, true, -1, [](std::string_view) {}); }).code() ==
              Code::not_found);
    }
}

TEST_CASE("the oldest logs go") {
    const Directory directory;
    DeploymentLogs logs(directory / "deployments", 1000, 2);
    for (char last = 'a'; last < 'f'; ++last) logs.create(std::string("abcdefghijk") + last)->line("x");
    logs.prune();
    const auto begin = std::filesystem::directory_iterator(directory / "deployments");
    CHECK(std::distance(begin, std::filesystem::directory_iterator()) == 2);
}
