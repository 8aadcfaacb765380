#include <minions/base/call_pipes.hpp>

#include <catch2/catch.hpp>
#include <sys/signal.h>

#include <chrono>

using namespace minions;

TEST_CASE("what a call writes is taken to its end") {
    CallPipes pipes;
    std::string out;
    std::string error;
    Fd to_out = pipes.collect([&](std::string_view piece) { out += piece; });
    Fd to_error = pipes.collect([&](std::string_view piece) { error += piece; });
    pipes.start();
    const std::string large(1 << 20, 'x');
    write_all(to_out.get(), large.data(), large.size());
    write_all(to_error.get(), "no", 2);
    to_out.reset();
    to_error.reset();
    CHECK(pipes.finish());
    CHECK(out == large);
    CHECK(error == "no");
}

TEST_CASE("a call reads its text and then the end") {
    CallPipes pipes;
    std::string back;
    const std::string large(1 << 20, 'x');
    Fd from = pipes.feed(large);
    Fd to = pipes.collect([&](std::string_view piece) { back += piece; });
    pipes.start();
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(from.get(), buffer, sizeof buffer)) > 0;)
        write_all(to.get(), buffer, static_cast<std::size_t>(got));
    to.reset();
    CHECK(pipes.finish());
    CHECK(back == large);
}

TEST_CASE("a call that keeps its ends delays nobody for long") {
    ::signal(SIGPIPE, SIG_IGN);
    CallPipes pipes;
    std::string out;
    Fd unread = pipes.feed(std::string(1 << 20, 'x'));
    Fd kept = pipes.collect([&](std::string_view piece) { out += piece; });
    pipes.start();
    write_all(kept.get(), "so far", 6);
    const auto before = std::chrono::steady_clock::now();
    CHECK_FALSE(pipes.finish());
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(5));
    CHECK(out == "so far");
    CHECK_THROWS(write_all(kept.get(), "later", 5));
}
