#include "core/app/log.hpp"

#include <minions/base/fd.hpp>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

using namespace minions;
using namespace minions::core;

namespace {
constexpr std::string_view when = "2026-02-18T10:00:00.123Z";

std::string drain(Fd& fd) {
    std::string text;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<std::size_t>(n));
    }
    return text;
}
}  // namespace

TEST_CASE("the three formats of a line") {
    const Value fields = Value::object({{"name", "a"}, {"text", "two words"}, {"n", 3}});
    CHECK(log_line(LogFormat::text, when, LogLevel::info, "started", fields) ==
          "2026-02-18T10:00:00.123Z info    started name=a text=\"two words\" n=3");
    CHECK(
        log_line(LogFormat::json, when, LogLevel::warning, "started", fields) ==
        R"({"time":"2026-02-18T10:00:00.123Z","level":"warning","message":"started","name":"a","text":"two words","n":3})");
    CHECK(log_line(LogFormat::journald, when, LogLevel::error, "started", {}) == "<3>started");
    CHECK(log_line(LogFormat::journald, when, LogLevel::debug, "x", {}) == "<7>x");
}

TEST_CASE("a message cannot forge another line or hide a member") {
    CHECK(log_line(LogFormat::journald, when, LogLevel::info, "a\n<0>b\x1b[31m",
                   Value::object({{"k\n", "v\nw"}})) == R"(<6>a\n<0>b\x1b[31m k\n=v\nw)");
    CHECK(log_line(LogFormat::json, when, LogLevel::info, "m", Value::object({{"level", "error"}})) ==
          R"({"time":"2026-02-18T10:00:00.123Z","level":"info","message":"m","field_level":"error"})");
}

TEST_CASE("less important messages are left out, and the level can change") {
    auto pipe = make_pipe();
    Log log(pipe.second.get(), LogFormat::journald, LogLevel::warning);
    log.info("one");
    log.warning("two");
    log.set_level(LogLevel::debug);
    log.debug("three");
    pipe.second.reset();
    CHECK(drain(pipe.first) == "<4>two\n<7>three\n");
}

TEST_CASE("lines of several threads do not mix") {
    auto pipe = make_pipe();
    Log log(pipe.second.get(), LogFormat::journald, LogLevel::info);
    const std::string message(200, 'x');
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int k = 0; k < 50; ++k) log.info(message);
        });
    }
    for (auto& thread : threads) thread.join();
    pipe.second.reset();
    std::string expected;
    for (int i = 0; i < 200; ++i) expected += "<6>" + message + "\n";
    CHECK(drain(pipe.first) == expected);
}

TEST_CASE("auto chooses by what the descriptor is") {
    auto pipe = make_pipe();
    ::unsetenv("JOURNAL_STREAM");
    CHECK(log_format_of("auto", pipe.second.get()) == LogFormat::json);
    CHECK(log_format_of("text", pipe.second.get()) == LogFormat::text);
    struct stat status {};
    REQUIRE(::fstat(pipe.second.get(), &status) == 0);
    ::setenv("JOURNAL_STREAM", (std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino)).c_str(),
             1);
    CHECK(log_format_of("auto", pipe.second.get()) == LogFormat::journald);
    ::setenv("JOURNAL_STREAM", "1:1", 1);
    CHECK(log_format_of("auto", pipe.second.get()) == LogFormat::json);
    ::unsetenv("JOURNAL_STREAM");
    const Fd terminal(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(terminal);
    CHECK(log_format_of("auto", terminal.get()) == LogFormat::text);
}
