#include "cli/terminal.hpp"
#include "tests/unit/cli/scripted_server.hpp"
#include "tests/unit/core/api/api.hpp"

#include <pty.h>

using namespace minions;
using namespace minions::test;
using Catch::Matchers::Contains;
using core::test::Api;

namespace {

std::string address_of(const Api& api) { return "unix:" + (api.world.directory / "api.sock").string(); }

}  // namespace

TEST_CASE("exec passes the exit code and both streams on, whatever bytes they are") {
    Api api;
    api.create("a");
    const std::string address = address_of(api);
    const auto echo = run(address, {"exec", "a", "--", "echo", "--json", "x"});
    CHECK(echo.code == 0);
    CHECK(echo.out == "--json x\n");
    CHECK(run(address, {"exec", "a", "echo-error", "oh"}).err == "oh\n");
    CHECK(run(address, {"exec", "a", "--", "exit", "7"}).code == 7);
    CHECK(run(address, {"exec", "a", "nonsense"}).code == 127);
    std::string bytes;
    for (int i = 0; i < 500'000; ++i) bytes += static_cast<char>(i * 7 >> 2);
    CHECK(run(address, {"exec", "-i", "a", "cat"}, bytes).out == bytes);
    CHECK(run(address, {"exec", "a", "cat"}, bytes).out.empty());
    CHECK_THAT(run(address, {"exec", "-e", "K=V=W", "a", "env"}).out, Contains("K=V=W\n"));
}

TEST_CASE("exec says why a command could not run or did not end") {
    Api api;
    api.create("a");
    const std::string address = address_of(api);
    const auto late = run(address, {"exec", "--timeout", "0.05", "a", "--", "sleep", "60"});
    CHECK(late.code == 1);
    CHECK_THAT(late.err, Contains("did not end within 0.05 seconds"));
    CHECK_THAT(run(address, {"exec", "b", "true"}).err, Contains("VM 'b' not found"));
    CHECK(run(address, {"exec", "-it", "a", "true"}).code == 2);           // no terminal here
    CHECK(run(address, {"--json", "exec", "-t", "a", "true"}).code == 2);  // a document is no terminal
    ScriptedServer other({{200, "[]"}});
    CHECK_THAT(run(other.address(), {"exec", "a", "true"}).err, Contains("did not agree"));
}

TEST_CASE("a terminal is raw for as long as somebody wants it") {
    int master = -1;
    int slave = -1;
    winsize size{};
    size.ws_row = 12;
    size.ws_col = 34;
    REQUIRE(::openpty(&master, &slave, nullptr, nullptr, &size) == 0);
    const Fd ends[] = {Fd(master), Fd(slave)};
    termios before{};
    termios now{};
    REQUIRE(::tcgetattr(slave, &before) == 0);
    {
        const cli::RawTerminal raw(slave);
        REQUIRE(::tcgetattr(slave, &now) == 0);
        CHECK((now.c_lflag & (ICANON | ECHO | ISIG)) == 0);
    }
    REQUIRE(::tcgetattr(slave, &now) == 0);
    CHECK(now.c_lflag == before.c_lflag);
    CHECK(now.c_iflag == before.c_iflag);
    CHECK(now.c_oflag == before.c_oflag);
    CHECK(cli::terminal_size(slave)->rows == 12);
    CHECK(cli::terminal_size(slave)->columns == 34);
    const FdPair pipe = make_pipe();
    CHECK_FALSE(cli::terminal_size(pipe.first.get()));
    CHECK_THROWS(cli::RawTerminal(pipe.first.get()));
}

TEST_CASE("signals are read while somebody wants them") {
    cli::SignalReader signals{SIGUSR1, SIGWINCH};
    CHECK_FALSE(signals.next());
    ::raise(SIGUSR1);
    CHECK(signals.next() == SIGUSR1);
    CHECK_FALSE(signals.next());
}
