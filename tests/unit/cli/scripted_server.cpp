#include "tests/unit/cli/scripted_server.hpp"

#include "cli/commands.hpp"

#include <minions/base/unix_address.hpp>

#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sstream>

namespace minions::test {
namespace {

std::string read_request(int fd) {
    std::string text;
    char buffer[65536];
    for (;;) {
        const auto head_end = text.find("\r\n\r\n");
        const bool chunked = text.substr(0, head_end).find("Transfer-Encoding: chunked") != std::string::npos;
        if (chunked && text.ends_with("\r\n0\r\n\r\n")) return text;
        if (head_end != std::string::npos && !chunked) {
            const auto length = text.find("Content-Length: ");
            const auto body =
                length == std::string::npos || length > head_end ? 0 : std::stoul(text.substr(length + 16));
            if (text.size() >= head_end + 4 + body) return text;
        }
        const auto count = ::read(fd, buffer, sizeof buffer);
        if (count <= 0) return text;
        text.append(buffer, static_cast<std::size_t>(count));
    }
}

}  // namespace

ScriptedServer::ScriptedServer(std::vector<Reply> replies, std::string path) : path_(std::move(path)) {
    if (path_.empty()) {
        listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
        REQUIRE(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
        address_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    } else {
        listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(UnixAddress(path_).bind(listener_.get()) == 0);
        address_ = "unix:" + path_;
    }
    REQUIRE(::listen(listener_.get(), 16) == 0);
    thread_ = std::thread([this, replies = std::move(replies)]() mutable { serve(std::move(replies)); });
}

ScriptedServer::~ScriptedServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    if (!path_.empty()) ::unlink(path_.c_str());
}

void ScriptedServer::serve(std::vector<Reply> replies) {
    for (const auto& reply : replies) {
        const Fd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!connection) return;
        auto request = read_request(connection.get());
        requests_.lock()->push_back(std::move(request));
        const auto text = "HTTP/1.1 " + std::to_string(reply.status) + " x\r\n" + reply.headers +
                          "Connection: close\r\nContent-Length: " + std::to_string(reply.body.size()) +
                          "\r\n\r\n" + reply.body;
        ::send(connection.get(), text.data(), text.size(), MSG_NOSIGNAL);
    }
}

Run run(const std::string& host, std::vector<std::string> arguments, const std::string& input) {
    if (!host.empty()) arguments.insert(arguments.begin(), {"--host", host});
    std::istringstream in(input);
    std::ostringstream out;
    std::ostringstream err;
    const int code = cli::main(arguments, {in, out, err});
    return {code, out.str(), err.str()};
}

}  // namespace minions::test
