#include "tests/unit/core/http/harness.hpp"

#include <minions/base/unix_address.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <stdexcept>

namespace minions::core::http {

void Gate::open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    condition_.notify_all();
}

bool Gate::wait_for(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    return condition_.wait_for(lock, patience, [&] { return open_; });
}

RawClient::RawClient(const std::string& address) {
    int result = 0;
    if (address.front() == '/') {
        fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        result = UnixAddress(address).connect(fd_.get());
    } else {
        const std::size_t colon = address.rfind(':');
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = htons(static_cast<in_port_t>(std::stoi(address.substr(colon + 1))));
        ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &in.sin_addr);
        fd_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        result = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&in), sizeof in);
    }
    if (result != 0) throw std::runtime_error("cannot connect to " + address);
    const timeval patience{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

void RawClient::send(std::string_view bytes) { write_all(fd_.get(), bytes.data(), bytes.size()); }

bool RawClient::fill() {
    char buffer[65536];
    const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (got <= 0) return false;
    in_.append(buffer, static_cast<std::size_t>(got));
    return true;
}

std::string RawClient::Answer::header(std::string_view name) const {
    const std::string wanted = "\r\n" + std::string(name) + ": ";
    const std::size_t at = head.find(wanted);
    if (at == std::string::npos) return {};
    const std::size_t start = at + wanted.size();
    return head.substr(start, head.find("\r\n", start) - start);
}

RawClient::Answer RawClient::read(bool head_only) {
    Answer answer;
    std::size_t end = 0;
    while ((end = in_.find("\r\n\r\n")) == std::string::npos) {
        if (!fill()) return answer;
    }
    answer.head = in_.substr(0, end + 2);
    in_.erase(0, end + 4);
    answer.status = std::stoi(answer.head.substr(9, 3));
    const bool bodyless = head_only || answer.status == 204 || answer.status < 200;
    if (!bodyless && answer.header("Transfer-Encoding") == "chunked") {
        for (;;) {
            while ((end = in_.find("\r\n")) == std::string::npos) {
                if (!fill()) return answer;
            }
            const std::size_t size = std::stoul(in_.substr(0, end), nullptr, 16);
            while (in_.size() < end + 2 + size + 2) {
                if (!fill()) return answer;
            }
            answer.body += in_.substr(end + 2, size);
            in_.erase(0, end + 2 + size + 2);
            if (size == 0) break;
        }
    } else if (!bodyless && !answer.header("Content-Length").empty()) {
        const std::size_t size = std::stoul(answer.header("Content-Length"));
        while (in_.size() < size) {
            if (!fill()) return answer;
        }
        answer.body = in_.substr(0, size);
        in_.erase(0, size);
    } else if (!bodyless) {
        while (fill()) {
        }
        answer.body = std::exchange(in_, {});
    }
    answer.complete = true;
    return answer;
}

RawClient::Answer RawClient::ask(std::string_view bytes, bool head_only) {
    send(bytes);
    return read(head_only);
}

std::string RawClient::take(std::size_t size) {
    while (in_.size() < size && fill()) {
    }
    std::string out = in_.substr(0, size);
    in_.erase(0, out.size());
    return out;
}

bool RawClient::at_end() { return in_.empty() && !fill() && errno != EAGAIN && in_.empty(); }

void RawClient::half_close() { ::shutdown(fd_.get(), SHUT_WR); }

Options open_options() {
    Options options;
    options.authorize = [](Request&, Permission) { return Principal{"test", Scope::admin}; };
    return options;
}

TestServer::TestServer(std::vector<Route> routes, Options options) {
    options.tcp.push_back("127.0.0.1:0");
    server = std::make_unique<Server>(std::move(options), Router(std::move(routes)));
}

Route quick(std::string_view method, std::string_view pattern, Handler handler) {
    return {method, pattern, Permission::read, Lane::quick, BodyKind::json, 0, std::move(handler)};
}

Route waiting(std::string_view pattern, Handler handler) {
    return {"GET", pattern, Permission::read, Lane::waiting, BodyKind::none, 0, std::move(handler)};
}

Route command(std::string_view pattern, Handler handler) {
    return {"GET", pattern, Permission::exec, Lane::command, BodyKind::none, 0, std::move(handler)};
}

Route streaming(std::string_view pattern, Handler handler) {
    return {"GET", pattern, Permission::read, Lane::stream, BodyKind::none, 0, std::move(handler)};
}

}  // namespace minions::core::http
