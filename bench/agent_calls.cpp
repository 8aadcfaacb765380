// Measures what a call to an agent costs against a bare echo over the same kind of socket, in turn, and
// prints the durations in milliseconds: {"echo": [...], "ping": [...], "exec": [...]}.

#include "plugins/vmkit/agent_client.hpp"
#include "plugins/vmkit/contexts.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/spawn.hpp>
#include <minions/codec.hpp>
#include <minions/value.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace minions;
using vmkit::AgentAddress;

constexpr auto whole_time = std::chrono::minutes(5);
constexpr int warm_up = 20;
/// About what the request and the answer of a ping are.
constexpr std::size_t echo_bytes = 40;
/// Pings and echoes for each exec, which is slow beside them.
constexpr int calls_for_exec = 10;

/// A process that sends back what it reads, as the agent is one.
class Echo {
  public:
    Echo() {
        auto [ours, theirs] = make_socketpair(SOCK_STREAM);
        ours_ = std::move(ours);
        SpawnOptions options;
        options.argv = {"/proc/self/exe", "--echo"};
        options.in = Stdio(std::move(theirs));
        process_ = spawn(std::move(options));
    }

    void call() const {
        std::string text(echo_bytes, 'x');
        write_all(ours_.get(), text.data(), text.size());
        for (std::size_t at = 0; at < text.size();) {
            const ssize_t got = ::read(ours_.get(), text.data() + at, text.size() - at);
            if (got <= 0) throw std::runtime_error("the echo has ended");
            at += static_cast<std::size_t>(got);
        }
    }

    static int serve() {
        std::string buffer(4096, '\0');
        for (ssize_t got = 0; (got = ::read(STDIN_FILENO, buffer.data(), buffer.size())) > 0;)
            write_all(STDIN_FILENO, buffer.data(), static_cast<std::size_t>(got));
        return 0;
    }

  private:
    Fd ours_;
    Process process_;
};

/// A real agent that dials a Unix socket.
class Guest {
  public:
    Guest(const std::string& program, const std::string& directory)
        : ctx_(whole_time), client_(loop_, {AgentAddress::Kind::listen, directory + "/agent.sock"}) {
        SpawnOptions options;
        options.argv = {program, "--connect", "unix:" + directory + "/agent.sock"};
        agent_ = spawn(std::move(options));
        client_.wait_ready(ctx_);
    }

    void ping() { client_.call(ctx_, agent::Method::ping); }

    void exec() {
        ExecSpec spec;
        spec.command = "true";
        ExecStreams streams;
        auto [out, to_out] = make_pipe();
        auto [err, to_err] = make_pipe();
        streams.output = std::move(to_out);
        streams.error = std::move(to_err);
        if (client_.exec(ctx_, spec, std::move(streams)).exit_code != 0)
            throw std::runtime_error("true is not");
    }

  private:
    vmkit::Alone ctx_;
    vmkit::AgentLoop loop_;
    vmkit::AgentClient client_;
    Process agent_;
};

double timed(const std::function<void()>& action) {
    const auto begin = std::chrono::steady_clock::now();
    action();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

std::string measured(Guest& guest, const Echo& echo, int rounds) {
    std::vector<double> echoes;
    std::vector<double> pings;
    std::vector<double> execs;
    for (int i = -warm_up; i < rounds; ++i) {
        const double exec = timed([&] { guest.exec(); });
        if (i >= 0) execs.push_back(exec);
        for (int j = 0; j < calls_for_exec; ++j) {
            const double bare = timed([&] { echo.call(); });
            const double ping = timed([&] { guest.ping(); });
            if (i < 0) continue;
            echoes.push_back(bare);
            pings.push_back(ping);
        }
    }
    return to_json(
        Value::object({{"echo", encode(echoes)}, {"ping", encode(pings)}, {"exec", encode(execs)}}));
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    try {
        if (arguments == std::vector<std::string>{"--echo"}) return Echo::serve();
        if (arguments.size() == 3) {
            const Echo echo;
            Guest guest(arguments[0], arguments[1]);
            return std::puts(measured(guest, echo, std::atoi(arguments[2].c_str())).c_str()) < 0 ? 1 : 0;
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "agent_calls: %s\n", error.what());
        return 1;
    }
    std::fputs("usage: agent_calls AGENT DIRECTORY ROUNDS\n", stderr);
    return 2;
}
