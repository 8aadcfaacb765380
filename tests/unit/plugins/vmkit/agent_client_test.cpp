#include "plugins/vmkit/agent_client.hpp"

#include "tests/unit/plugins/support.hpp"

#include <minions/base/files.hpp>
#include <minions/base/spawn.hpp>
#include <minions/base/tar.hpp>
#include <minions/error.hpp>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>

using namespace minions;
using namespace minions::test;
using minions::vmkit::AgentAddress;
using minions::vmkit::AgentClient;
using minions::vmkit::AgentLoop;

namespace {

/// A real agent, started as a program of its own, that dials a Unix socket of ours.
class Guest {
  public:
    Guest() : directory_(make_directory()), client(loop, {AgentAddress::Kind::listen, socket()}) {
        start_agent();
        client.wait_ready(ctx);
    }
    ~Guest() { std::filesystem::remove_all(directory_); }

    void start_agent() {
        SpawnOptions options;
        options.argv = {MINIONS_AGENT, "--connect", "unix:" + socket()};
        agent = spawn(std::move(options));
    }
    std::string socket() const { return directory_ + "/agent.sock"; }
    std::string path(const std::string& name) const { return directory_ + "/" + name; }

    struct Done {
        ExecEnd end;
        std::string out;
        std::string err;
    };
    Done exec(Context& call, const ExecSpec& spec, std::optional<std::string> input = {}) {
        auto out = make_pipe();
        auto err = make_pipe();
        ExecStreams streams;
        streams.output = std::move(out.second);
        if (!spec.tty) streams.error = std::move(err.second);
        err.second.reset();
        std::thread feeder;
        if (input) {
            auto in = make_pipe();
            streams.input = std::move(in.first);
            feeder = std::thread([text = std::move(*input), to = std::move(in.second)] {
                ::signal(SIGPIPE, SIG_IGN);
                try {
                    put(to.get(), text);
                } catch (const std::system_error&) {  // the command reads no more
                }
            });
        }
        Collected output(std::move(out.first));
        Collected error(std::move(err.first));
        Done done;
        try {
            done.end = client.exec(call, spec, std::move(streams));
        } catch (...) {
            if (feeder.joinable()) feeder.join();
            throw;
        }
        if (feeder.joinable()) feeder.join();
        done.out = output.text();
        done.err = error.text();
        return done;
    }
    Done exec(const ExecSpec& spec, std::optional<std::string> input = {}) {
        return exec(ctx, spec, std::move(input));
    }

  private:
    static std::string make_directory() {
        char name[] = "/tmp/minions-agent-test.XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        return name;
    }
    std::string directory_;

  public:
    AgentLoop loop;
    AgentClient client;
    TestContext ctx;
    Process agent;
};

/// Whether any process has this in its command line.
bool runs(const std::string& word) {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        std::ifstream file(entry.path() / "cmdline");
        const std::string line((std::istreambuf_iterator<char>(file)), {});
        if (line.find(word) != std::string::npos) return true;
    }
    return false;
}

}  // namespace

TEST_CASE("a command's streams, code and surroundings pass through the agent") {
    Guest guest;
    SECTION("both streams apart, and the exit code") {
        const auto done = guest.exec(command("sh", {"-c", "echo out; echo err >&2; exit 7"}));
        CHECK(done.out == "out\n");
        CHECK(done.err == "err\n");
        CHECK(done.end.exit_code == 7);
        CHECK_FALSE(done.end.signal);
    }
    SECTION("standard input to its end, and none where there is none") {
        const std::string input(3 << 20, 'x');
        CHECK(guest.exec(command("wc", {"-c"}), input).out == std::to_string(input.size()) + "\n");
        CHECK(guest.exec(command("cat")).out.empty());
    }
    SECTION("input that the command does not read") {
        CHECK(guest.exec(command("true"), std::string(3 << 20, 'x')).end.exit_code == 0);
    }
    SECTION("environment, directory and user") {
        ExecSpec spec = command("sh", {"-c", "echo $A; pwd; id -u; echo $HOME"});
        spec.env = {{"A", "b c"}};
        spec.cwd = "/tmp";
        spec.user = "nobody";
        CHECK(guest.exec(spec).out == "b c\n/tmp\n65534\n/nonexistent\n");
        spec.user = "12:34";
        spec.args = {"-c", "id -u; id -g; id -G"};
        CHECK(guest.exec(spec).out == "12\n34\n34\n");
        spec.user = "nobody-knows";
        CHECK(code_thrown([&] { guest.exec(spec); }) == "invalid");
        spec.user.reset();
        spec.cwd = "/nowhere";
        CHECK(code_thrown([&] { guest.exec(spec); }) == "invalid");
    }
    SECTION("what cannot be found or executed") {
        const auto missing = guest.exec(command("no-such-command"));
        CHECK(missing.end.exit_code == 127);
        CHECK(missing.err == "no-such-command: command not found\n");
        CHECK(guest.exec(command("/no/such")).end.exit_code == 127);
        CHECK(guest.exec(command("/etc/passwd")).end.exit_code == 126);
    }
    SECTION("bytes of any value, and more of them than any buffer holds") {
        const auto done =
            guest.exec(command("sh", {"-c", "printf '\\000\\377'; head -c 20000000 /dev/zero"}));
        CHECK(done.out.size() == 20000002);
        CHECK(done.out.substr(0, 2) == std::string("\0\xFF", 2));
    }
    SECTION("a command that goes on after closing its output, and one that leaves somebody with it") {
        CHECK(guest.exec(command("sh", {"-c", "exec >&- 2>&-; sleep 0.3; exit 4"})).end.exit_code == 4);
        CHECK(guest.exec(command("sh", {"-c", "sleep 60.125 & echo here"})).out == "here\n");
        CHECK(runs("60.125"));
        guest.exec(command("pkill", {"-f", "60.125"}));
    }
    SECTION("a signal's end") {
        CHECK(guest.exec(command("sh", {"-c", "kill -9 $$"})).end.signal == SIGKILL);
    }
}

TEST_CASE("a terminal has its size, its signals and one stream") {
    Guest guest;
    ExecSpec spec = command("sh", {"-c", "stty size; test -t 0 && echo yes; echo err >&2; tty | cut -c1-8"});
    spec.tty = true;
    spec.rows = 33;
    spec.columns = 77;
    CHECK(guest.exec(spec, "").out == "33 77\r\nyes\r\nerr\r\n/dev/pts\r\n");
}

TEST_CASE("an exec is ended with its whole group") {
    Guest guest;
    auto out = make_pipe();
    const ExecSpec spec =
        command("sh", {"-c", "sleep 4242.5 & setsid -w sleep 4242.25 & sleep 4242.75 & echo ready; wait"});
    const auto none_left = [&] { return !runs("4242.5") && !runs("4242.75"); };
    TestContext call;
    const auto run = [&](Context& context, Fd control = {}) {
        ExecStreams streams;
        streams.output = std::move(out.second);
        streams.control = std::move(control);
        return guest.client.exec(context, spec, std::move(streams));
    };
    SECTION("when the call is cancelled") {
        Collected output(std::move(out.first));
        std::thread canceller([&] {
            output.saw("ready");
            call.cancel();
        });
        CHECK(code_thrown([&] { run(call); }) == "cancelled");
        canceller.join();
        CHECK(none_left());
    }
    SECTION("when its deadline passes") {
        Collected output(std::move(out.first));
        TestContext brief(700ms);
        CHECK(code_thrown([&] { run(brief); }) == "deadline");
        CHECK(none_left());
    }
    SECTION("when its reader goes away") {
        auto reader = std::async(std::launch::async, [fd = std::move(out.first)]() mutable {
            char byte = 0;
            const bool read = ::read(fd.get(), &byte, 1) == 1;
            fd.reset();
            return read;
        });
        CHECK(run(call).signal == SIGKILL);
        CHECK(reader.get());
        CHECK(none_left());
    }
    SECTION("when the session is lost") {
        Collected output(std::move(out.first));
        std::thread killer([&] {
            output.saw("ready");
            guest.agent.kill(SIGKILL);
            guest.agent.wait();
        });
        CHECK(code_thrown([&] { run(call); }) == "unavailable");
        killer.join();
        guest.start_agent();
        CHECK(guest.exec(command("echo", {"again"})).out == "again\n");
        for (const char* each : {"4242.5", "4242.75"}) guest.exec(command("pkill", {"-f", each}));
    }
    SECTION("or gets the signal that is asked for") {
        auto control = make_socketpair(SOCK_SEQPACKET);
        Collected output(std::move(out.first));
        std::thread sender([&] {
            output.saw("ready");
            const std::string message = R"({"signal":15})";
            static_cast<void>(!::send(control.first.get(), message.data(), message.size(), 0));
        });
        CHECK(run(call, std::move(control.second)).signal == SIGTERM);
        sender.join();
        guest.exec(command("pkill", {"-f", "sleep 4242"}));
    }
    guest.exec(command("pkill", {"-f", "4242.25"}));  // it left the session by itself
}

TEST_CASE("a command that nobody reads delays no other") {
    Guest guest;
    auto out = make_pipe();
    ExecStreams streams;
    streams.output = std::move(out.second);
    TestContext call;
    std::thread stalled([&] {
        code_thrown([&] { guest.client.exec(call, command("cat", {"/dev/zero"}), std::move(streams)); });
    });
    for (int i = 0; i < 20; ++i) CHECK(guest.exec(command("echo", {"quick"})).out == "quick\n");
    call.cancel();
    stalled.join();
}

TEST_CASE("files pass as tar in both directions") {
    Guest guest;
    std::filesystem::create_directories(guest.path("from/sub"));
    std::filesystem::create_directories(guest.path("to"));
    std::ofstream(guest.path("from/sub/file")) << std::string(300'000, 'y');
    std::filesystem::create_symlink("sub/file", guest.path("from/link"));
    std::filesystem::permissions(guest.path("from/sub/file"), std::filesystem::perms(0640));
    auto pipe = make_pipe();
    Collected tar(std::move(pipe.first));
    guest.client.read_files(guest.ctx, guest.path("from"), std::move(pipe.second));
    const std::string archive = tar.text();
    const auto unpack = [&](const std::string& path, const std::string& bytes) {
        auto in = make_pipe();
        std::thread feeder([&] {
            try {
                put(in.second.get(), bytes);
            } catch (const std::system_error&) {  // it was refused
            }
            in.second.reset();
        });
        std::string code =
            code_thrown([&] { guest.client.write_files(guest.ctx, path, std::move(in.first)); });
        feeder.join();
        return code;
    };
    CHECK(unpack(guest.path("to"), archive).empty());
    CHECK(std::filesystem::file_size(guest.path("to/from/sub/file")) == 300'000);
    CHECK((std::filesystem::status(guest.path("to/from/sub/file")).permissions() ==
           std::filesystem::perms(0640)));
    CHECK(std::filesystem::read_symlink(guest.path("to/from/link")) == "sub/file");
    CHECK(unpack(guest.path("to"), archive).empty());  // over what is there
    CHECK(unpack(guest.path("nowhere"), archive) == "not_found");
    CHECK(unpack(guest.path("to"), "this is no archive") == "invalid");

    SECTION("a link that is there leads no archive out") {
        std::filesystem::create_directory_symlink("/etc", guest.path("to/from2"));
        std::string hostile;
        TarWriter writer([&](std::string_view piece) { hostile += piece; });
        writer.add_file("from2/minions-was-here", "x");
        writer.finish();
        CHECK(unpack(guest.path("to"), hostile) == "invalid");
        CHECK_FALSE(std::filesystem::exists("/etc/minions-was-here"));
    }
    auto missing = make_pipe();
    Collected nothing(std::move(missing.first));
    CHECK(code_thrown([&] { guest.client.read_files(guest.ctx, "/no/such", std::move(missing.second)); }) ==
          "not_found");
}

TEST_CASE("a forward reaches a port of the guest's loopback") {
    Guest guest;
    const Fd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(server.get(), raw, size) == 0);
    REQUIRE(::listen(server.get(), 1) == 0);
    ::getsockname(server.get(), raw, &size);
    const int port = ntohs(address.sin_port);

    const Fd stream = guest.client.forward(guest.ctx, port);
    const Fd peer(::accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC));
    put(stream.get(), "ping");
    ::shutdown(stream.get(), SHUT_WR);
    char buffer[8] = {};
    CHECK(read_exact(peer.get(), buffer, 4));
    CHECK(std::string(buffer) == "ping");
    CHECK(::read(peer.get(), buffer, 1) == 0);  // the half that ended has ended there too
    put(peer.get(), "pong");
    ::shutdown(peer.get(), SHUT_WR);
    CHECK(read_exact(stream.get(), buffer, 4));
    CHECK(std::string(buffer) == "pong");
    CHECK(::read(stream.get(), buffer, 1) == 0);
    CHECK(code_thrown([&] { guest.client.forward(guest.ctx, 1); }) == "unavailable");
}

TEST_CASE("the agent tells about its machine") {
    Guest guest;
    const Stats stats = guest.client.stats(guest.ctx);
    CHECK(stats.uptime_secs.value_or(0) > 0);
    CHECK(stats.memory_total_mb.value_or(0) > 100);
    CHECK(stats.memory_used_mb.value_or(0) < stats.memory_total_mb.value_or(0));
    CHECK(stats.disk_total_gb.value_or(0) > 0);
    CHECK(stats.cpu_usage_percent.value_or(-1) >= 0);
    CHECK_FALSE(stats.hostname.value_or("").empty());
    CHECK_FALSE(guest.client.version().empty());
    guest.client.call(guest.ctx, agent::Method::ping);
    CHECK(code_thrown([&] { guest.client.call(guest.ctx, static_cast<agent::Method>(99)); }) ==
          "unsupported_by_runtime");
}
