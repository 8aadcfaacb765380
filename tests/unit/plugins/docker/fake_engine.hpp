#pragma once

#include "plugins/docker/config.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/event_fd.hpp>
#include <minions/base/fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/base/unix_address.hpp>
#include <minions/types.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <list>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace minions::docker::test {

/// One request as the fake engine got it, and the connection to answer on.
struct Asked {
    std::string method;
    std::string target;
    std::string body;
    int fd;
    int stop_fd;

    void raw(const std::string& bytes) const { (void)!::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
    void answer(int status, const std::string& document) const {
        raw("HTTP/1.1 " + std::to_string(status) +
            " X\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(document.size()) +
            "\r\n\r\n" + document);
    }
    void begin_stream() const { raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"); }
    void chunk(const std::string& bytes) const {
        char size[32];
        std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
        raw(size + bytes + "\r\n");
    }
    void end_stream() const { raw("0\r\n\r\n"); }
    /// Until the engine stops.
    void hold() const {
        pollfd wait{stop_fd, POLLIN, 0};
        poll_until(&wait, 1, no_deadline);
    }
};

/// A scripted engine on a Unix socket: one thread per connection, one request on each.
class FakeEngine {
  public:
    using Script = std::function<void(const Asked&)>;

    explicit FakeEngine(Script script) : script_(std::move(script)) {
        char directory[] = "/tmp/minions-fake-XXXXXX";
        if (::mkdtemp(directory) == nullptr) throw std::runtime_error("mkdtemp");
        directory_ = directory;
        start();
    }
    ~FakeEngine() {
        stop();
        ::rmdir(directory_.c_str());
    }

    std::string socket() const { return directory_ + "/s"; }
    std::vector<std::string> asked() const { return *asked_.lock(); }

    void start() {
        stop_.clear();
        listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (UnixAddress(socket()).bind(listener_.get()) != 0 || ::listen(listener_.get(), 64) != 0) {
            throw std::runtime_error("listen");
        }
        accepter_ = std::thread([this] { accept_all(); });
    }
    void stop() {
        if (!accepter_.joinable()) return;
        stop_.raise();
        accepter_.join();
        for (auto& thread : connections_) thread.join();
        connections_.clear();
        listener_.reset();
        ::unlink(socket().c_str());
    }

  private:
    void accept_all() {
        for (;;) {
            pollfd wait[] = {{listener_.get(), POLLIN, 0}, {stop_.fd(), POLLIN, 0}};
            poll_until(wait, 2, no_deadline);
            if (wait[1].revents != 0) return;
            Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (fd) connections_.emplace_back([this, held = std::move(fd)] { serve(held.get()); });
        }
    }
    void serve(int fd) {
        std::string text;
        std::array<char, 4096> buffer;
        std::size_t end = 0;
        const auto more = [&] {
            pollfd wait[] = {{fd, POLLIN, 0}, {stop_.fd(), POLLIN, 0}};
            poll_until(wait, 2, no_deadline);
            if (wait[0].revents == 0) return false;
            const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
            if (got > 0) text.append(buffer.data(), static_cast<std::size_t>(got));
            return got > 0;
        };
        while ((end = text.find("\r\n\r\n")) == std::string::npos) {
            if (!more()) return;
        }
        const auto length_at = text.find("Content-Length: ");
        const std::size_t length = length_at < end ? std::stoul(text.substr(length_at + 16)) : 0;
        const bool chunked = text.find("chunked") < end;
        while (chunked ? text.find("0\r\n\r\n", end + 4) == std::string::npos
                       : text.size() < end + 4 + length) {
            if (!more()) return;
        }
        const auto space = text.find(' ');
        Asked asked{text.substr(0, space), text.substr(space + 1, text.find(' ', space + 1) - space - 1),
                    text.substr(end + 4), fd, stop_.fd()};
        asked_.lock()->push_back(asked.method + " " + asked.target);
        if (asked.target.ends_with("/version")) {
            asked.answer(200, R"({"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"})");
            return;
        }
        script_(asked);
    }

    Script script_;
    std::string directory_;
    EventFd stop_;
    Fd listener_;
    std::thread accepter_;
    std::list<std::thread> connections_;
    Sync<std::vector<std::string>> asked_;
};

inline constexpr const char* id = "0123456789abcdef";

inline Config config_for(const FakeEngine& engine) {
    Config config;
    config.socket = engine.socket();
    config.api_timeout_seconds = 5;
    return config;
}

inline Instance an_instance() {
    Instance instance;
    instance.id = "inst1";
    instance.name = "one";
    instance.boot = 3;
    instance.spec.image = "image";
    return instance;
}

inline Instance with_container() {
    Instance instance = an_instance();
    instance.state = RuntimeState{1, Value::object({{"container", id}})};
    return instance;
}

inline std::string element(const std::string& state, const std::string& status) {
    return R"([{"Id":"0123456789abcdef","State":")" + state + R"(","Status":")" + status +
           R"(","Labels":{"minions.installation":"here","minions.instance":"inst1"}}])";
}

inline bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace minions::docker::test
