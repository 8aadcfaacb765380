#include "plugins/vmkit/agent_session.hpp"

#include <minions/agent/frame.hpp>
#include <minions/base/deadline.hpp>
#include <minions/base/spawn.hpp>
#include <minions/base/unix_address.hpp>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/socket.h>
#include <termios.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>

using namespace minions;
using namespace minions::agent;
using namespace std::chrono_literals;
using minions::vmkit::AgentRequest;
using minions::vmkit::AgentSession;

namespace {

/// A byte channel like a serial port: a terminal without any of a terminal's habits.
struct Port {
    Port() : host(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
        REQUIRE(::grantpt(host.get()) == 0);
        REQUIRE(::unlockpt(host.get()) == 0);
        REQUIRE(::ptsname_r(host.get(), name, sizeof name) == 0);
        guest.reset(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
        termios raw{};
        REQUIRE(::tcgetattr(guest.get(), &raw) == 0);
        ::cfmakeraw(&raw);
        REQUIRE(::tcsetattr(guest.get(), TCSANOW, &raw) == 0);
    }
    Fd host;
    Fd guest;  ///< keeps the channel up while no agent has it open
    char name[64] = {};
};

Process start_agent(const std::string& address) {
    SpawnOptions options;
    options.argv = {MINIONS_AGENT, "--connect", address};
    return spawn(std::move(options));
}

/// Runs the loop until `condition` holds.
void run_until(Loop& loop, const std::function<bool()>& condition) {
    const auto until = deadline_in(20s);
    std::function<void()> look = [&] {
        if (condition() || deadline_in(0s) > until) return loop.stop();
        loop.after(2ms, look);
    };
    loop.post(look);
    loop.run();
    REQUIRE(condition());
}

/// What `echo` answers over a session on this channel.
std::string echo_over(Loop& loop, const Fd& channel) {
    bool welcomed = false;
    AgentSession session(loop, duplicate(channel.get()), true,
                         {[&] { welcomed = true; }, [](const std::string&) {}});
    run_until(loop, [&] { return welcomed; });
    auto request = std::make_shared<AgentRequest>();
    request->method = Method::exec;
    request->fields.add(tag::argument, "echo").add(tag::argument, "hi");
    auto out = make_pipe();
    request->output = std::move(out.second);
    session.begin(request);
    run_until(loop, [&] { return request->result.lock()->over; });
    char buffer[16] = {};
    const ssize_t got = ::read(out.first.get(), buffer, sizeof buffer);
    return {buffer, static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
}

}  // namespace

TEST_CASE("a byte channel begins anew, whatever was left in it") {
    Loop loop;
    Port port;
    const auto leave = [&](const std::string& bytes) {
        write_all(port.host.get(), bytes.data(), bytes.size());
    };
    SECTION("half a frame of a host that died while it wrote") {
        Process agent = start_agent(std::string("serial:") + port.name);
        leave(make_frame({FrameType::request, 0, 1, 1}, std::string(1000, 'x')).substr(0, 500));
        CHECK(echo_over(loop, port.host) == "hi\n");
        // And once more, in the middle of another one.
        leave(make_frame({FrameType::data, 0, 1, 1}, std::string(1000, 'x')).substr(0, 20));
        CHECK(echo_over(loop, port.host) == "hi\n");
    }
    SECTION("half a frame of an agent that died while it wrote, and a new agent") {
        const std::string half =
            make_frame({FrameType::data, 1, 1, 1}, std::string(1000, 'x')).substr(0, 600);
        write_all(port.guest.get(), half.data(), half.size());
        Process agent = start_agent(std::string("serial:") + port.name);
        CHECK(echo_over(loop, port.host) == "hi\n");
    }
    SECTION("an agent that starts after the host") {
        bool welcomed = false;
        AgentSession session(loop, duplicate(port.host.get()), true,
                             {[&] { welcomed = true; }, [](const std::string&) {}});
        Process agent = start_agent(std::string("serial:") + port.name);
        run_until(loop, [&] { return welcomed; });
        // One that takes over is a hello within the session.
        welcomed = false;
        agent.kill(SIGKILL);
        agent.wait();
        agent = start_agent(std::string("serial:") + port.name);
        run_until(loop, [&] { return welcomed; });
    }
}

TEST_CASE("an agent outlives a peer that talks nonsense") {
    char directory[] = "/tmp/minions-agent-test.XXXXXX";
    REQUIRE(::mkdtemp(directory) != nullptr);
    const std::string path = std::string(directory) + "/s";
    const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(UnixAddress(path).bind(listener.get()) == 0);
    REQUIRE(::listen(listener.get(), 4) == 0);
    Process agent = start_agent("unix:" + path);
    const auto welcome = make_frame({FrameType::welcome, 0, 0, 0},
                                    Fields().add_number(tag::version, 1).add_number(tag::epoch, 5).bytes());
    const auto request = [](const std::string& fields) {
        return make_frame({FrameType::request, 0, 3, 5}, fields);
    };
    const std::string nonsense[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        std::string(100, '\xD7'),
        make_frame({FrameType::welcome, 0, 0, 0},
                   Fields().add_number(tag::version, 9).add_number(tag::epoch, 5).bytes()),
        make_frame({FrameType::reset, 0, 0, 0}, "x"),
        welcome + request("\x0A\xFF\xFF\xFF\x7F"),
        welcome + make_frame({FrameType::request, 0, 0, 5}, ""),
        welcome +
            request(Fields()
                        .add_number(tag::method, 2)
                        .add(tag::argument, "cat")
                        .add_number(tag::input, 1)
                        .bytes()) +
            make_frame({FrameType::window, 1, 3, 5}, std::string("\xFF\xFF\xFF\x7F", 4)),
        welcome +
            request(Fields()
                        .add_number(tag::method, 2)
                        .add(tag::argument, "cat")
                        .add_number(tag::input, 1)
                        .bytes()) +
            make_frame({FrameType::end, 1, 3, 5}, ""),
    };
    for (const std::string& each : nonsense) {
        const Fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        write_all(peer.get(), each.data(), each.size());
        char buffer[4096];
        while (::recv(peer.get(), buffer, sizeof buffer, 0) > 0) {
        }  // it hangs up
    }
    Loop loop;
    bool welcomed = false;
    AgentSession session(loop, Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)), false,
                         {[&] { welcomed = true; }, [](const std::string&) {}});
    run_until(loop, [&] { return welcomed; });
    CHECK_FALSE(agent.wait(deadline_in(0s)));
    ::unlink(path.c_str());
    ::rmdir(directory);
}
