// Takes QEMU's command line as the runtime `qemu` makes it, answers its monitor, and says what a guest's
// agent says as soon as it is told to run: so a VM is created as ever, but for the boot of a guest.

#include <minions/agent/link.hpp>
#include <minions/agent/protocol.hpp>
#include <minions/base/fd.hpp>
#include <minions/error.hpp>
#include <minions/value.hpp>

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace minions;
using namespace minions::agent;

constexpr const char* help =
    "Stands in for QEMU in benchmarks: takes the command line that the runtime 'qemu' makes.\n";

/// N of the argument `socket,id=NAME,fd=N,…`.
int socket_named(const std::vector<std::string_view>& arguments, const std::string& name) {
    const std::string start = "socket,id=" + name + ",fd=";
    for (const std::string_view argument : arguments) {
        int fd = -1;
        if (argument.starts_with(start) &&
            std::from_chars(argument.data() + start.size(), argument.data() + argument.size(), fd).ec ==
                std::errc())
            return fd;
    }
    throw std::runtime_error("no -chardev " + start +
                             "N: is this the command line of a runtime that speaks "
                             "otherwise?");
}

Fd accept_from(int listener) {
    return Fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

/// The guest's side of one connection to its virtio-serial port.
class Agent {
  public:
    Agent(Loop& loop, Fd port, std::function<void()> lost)
        : loop_(loop),
          link_(loop, std::move(port),
                {[this](const FrameHead& head, std::string_view payload) { on_frame(head, payload); },
                 [this, lost = std::move(lost)](const std::string&) { loop_.post(lost); }}) {
        link_.send_raw(make_flush());
        greet();
    }

  private:
    void greet() {
        Fields hello;
        hello.add_number(tag::version, protocol_version);
        hello.add(tag::software, "stand-in").add(tag::boot_id, "none");
        link_.send(FrameType::hello, 0, hello);
    }

    void on_frame(const FrameHead& head, std::string_view payload) {
        if (head.type == FrameType::reset) {
            link_.drop_queue();
            link_.set_epoch(0);
            const Fields reset = Fields::parse(payload);
            link_.send(FrameType::reset_done, 0,
                       Fields().add(tag::nonce, reset.text(tag::nonce).value_or("")));
            greet();
        } else if (head.type == FrameType::welcome) {
            link_.set_epoch(
                static_cast<std::uint32_t>(Fields::parse(payload).number(tag::epoch).value_or(0)));
        } else if (head.type == FrameType::request && head.epoch == link_.epoch()) {
            answer(head.stream, Fields::parse(payload));
        }
    }

    void answer(std::uint32_t stream, const Fields& request) {
        auto how = End::done;
        switch (static_cast<Method>(request.number(tag::method).value_or(0))) {
            case Method::shutdown:
                loop_.after(std::chrono::milliseconds(1), [] { std::exit(0); });
                break;
            case Method::ping:
            case Method::set_time:
            case Method::network:
            case Method::grow:
            case Method::freeze:
            case Method::thaw:
                break;
            default:
                how = End::unsupported;
        }
        link_.send(
            FrameType::end, stream,
            Fields().add_number(tag::how, static_cast<std::int64_t>(how)).add(tag::message, "a stand-in"));
    }

    Loop& loop_;
    Link link_;
};

class Machine {
  public:
    Machine(Loop& loop, int monitor, int port) : loop_(loop), monitor_(monitor), port_(port) {
        accept_monitor();
        loop_.watch(port_.get(), EPOLLIN, [this](std::uint32_t) {
            waiting_ = accept_from(port_.get());
            if (running_) open_port();
        });
    }

  private:
    /// As QEMU: one conversation at a time.
    void accept_monitor() {
        loop_.watch(monitor_.get(), EPOLLIN, [this](std::uint32_t) {
            client_ = accept_from(monitor_.get());
            if (!client_) return;
            loop_.forget(monitor_.get());
            unread_.clear();
            say(R"({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}})");
            loop_.watch(client_.get(), EPOLLIN, [this](std::uint32_t) { hear(); });
        });
    }

    void hear() {
        std::array<char, 4096> buffer{};
        const ssize_t got = ::recv(client_.get(), buffer.data(), buffer.size(), 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) {
            loop_.forget(client_.get());
            client_.reset();
            return accept_monitor();
        }
        unread_.append(buffer.data(), static_cast<std::size_t>(got));
        for (std::size_t end = 0; (end = unread_.find('\n')) != std::string::npos;) {
            const std::string line = unread_.substr(0, end);
            unread_.erase(0, end + 1);
            answer(line);
        }
    }

    void answer(const std::string& line) {
        const std::string command = parse_json(line)["execute"].string_or("");
        if (command == "query-status")
            return say(running_ ? R"({"return": {"running": true}})" : R"({"return": {"running": false}})");
        if (command == "cont" || command == "stop") {
            running_ = command == "cont";
            if (running_ && waiting_) open_port();
        } else if (command == "system_powerdown") {
            std::exit(0);
        } else if (command != "qmp_capabilities") {
            return say(R"({"error": {"class": "CommandNotFound", "desc": "a stand-in does not know it"}})");
        }
        say(R"({"return": {}})");
    }

    void say(const std::string& line) const {
        const std::string text = line + "\r\n";
        [[maybe_unused]] const ssize_t put = ::send(client_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    }

    void open_port() {
        agent_.reset();
        agent_.emplace(loop_, std::move(waiting_), [this] { agent_.reset(); });
    }

    Loop& loop_;
    Fd monitor_;
    Fd port_;
    Fd client_;
    std::string unread_;
    bool running_ = false;
    Fd waiting_;  ///< a connection to the port before the guest runs
    std::optional<Agent> agent_;
};

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string_view> arguments(argv + 1, argv + argc);
    if (arguments.size() == 1 && arguments[0] == "--help") return std::fputs(help, stdout) < 0 ? 1 : 0;
    if (arguments.size() == 1 && arguments[0] == "--version")
        return std::puts("QEMU emulator version 7.2.0 (stand-in)") < 0 ? 1 : 0;
    try {
        ::signal(SIGPIPE, SIG_IGN);
        Loop loop;
        Machine machine(loop, socket_named(arguments, "qmp"), socket_named(arguments, "agent"));
        loop.run();
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "stand_in_vmm: %s\n", error.what());
        return 1;
    }
}
