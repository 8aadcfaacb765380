#include "core/deployments/probe.hpp"

#include "tests/unit/core/deployments/support.hpp"

#include <minions/base/event_fd.hpp>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

using namespace minions;
using namespace minions::core;

namespace {

/// Listens on a port of its own; answers one connection with a fixed text, or with nothing until it is
/// destroyed.
class Server {
  public:
    explicit Server(std::string reply, bool answers = true)
        : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        REQUIRE(::bind(socket_.get(), generic, size) == 0);
        REQUIRE(::listen(socket_.get(), 8) == 0);
        REQUIRE(::getsockname(socket_.get(), generic, &size) == 0);
        port_ = ntohs(address.sin_port);
        if (answers) thread_ = std::thread([this, text = std::move(reply)] { serve(text); });
    }
    ~Server() {
        if (thread_.joinable()) thread_.join();
    }
    std::uint16_t port() const { return port_; }
    const std::string& request() {
        thread_.join();
        return request_;
    }

  private:
    void serve(const std::string& text) {
        const Fd peer(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        char buffer[4096];
        while (request_.find("\r\n\r\n") == std::string::npos) {
            const auto count = ::read(peer.get(), buffer, sizeof buffer);
            if (count <= 0) return;
            request_.append(buffer, static_cast<std::size_t>(count));
        }
        try {
            write_all(peer.get(), text.data(), text.size());
        } catch (const std::system_error&) {  // the probe has seen enough
        }
    }

    Fd socket_;
    std::uint16_t port_ = 0;
    std::string request_;
    std::thread thread_;
};

std::string reply(const std::string& status, const std::string& type, const std::string& body,
                  const std::string& more = "") {
    return "HTTP/1.1 " + status + "\r\nContent-Type: " + type +
           "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more + "\r\n" + body;
}

Value probe(std::uint16_t port, const std::string& path = "/health") {
    return probe_http({"127.0.0.1", port, path}, deadline_in(std::chrono::seconds(10)), -1);
}

}  // namespace

TEST_CASE("a probe reports status and JSON") {
    Server server(reply("200 OK", "application/json", R"({"status":"ok"})"));
    CHECK(to_json(probe(server.port(), "/a?b=c")) == R"({"status_code":200,"response":{"status":"ok"}})");
    CHECK(server.request().starts_with("GET /a?b=c HTTP/1.1\r\n"));
}

TEST_CASE("a probe reports other bodies as text, also broken JSON") {
    Server text(reply("404 Not Found", "text/plain", "nothing here"));
    CHECK(to_json(probe(text.port())) == R"({"status_code":404,"response":"nothing here"})");
    Server broken(reply("200 OK", "application/json", "{"));
    CHECK(to_json(probe(broken.port())) == R"({"status_code":200,"response":"{"})");
}

TEST_CASE("a probe follows no redirect") {
    Server target("", false);
    Server server(reply("302 Found", "text/plain", "",
                        "Location: http://127.0.0.1:" + std::to_string(target.port()) + "/\r\n"));
    CHECK(probe(server.port())["status_code"] == Value(302));
}

TEST_CASE("a probe reads 64 KiB and no more") {
    Server server(reply("200 OK", "text/plain", std::string(10 << 20, 'x')));
    const auto result = probe(server.port());
    CHECK(result["response"].string_or("").size() == 64 * 1024);
    CHECK(result["truncated"] == Value(true));
}

TEST_CASE("a probe of nobody says so") {
    std::uint16_t port = 0;
    { port = Server("", false).port(); }
    const auto result = probe(port);
    CHECK(result["status_code"].is_null());
    CHECK_FALSE(result["error"].string_or("").empty());
}

TEST_CASE("a probe of somebody silent ends by its deadline, or when it is cancelled") {
    Server server("", false);
    const auto result =
        probe_http({"127.0.0.1", server.port(), "/"}, deadline_in(std::chrono::milliseconds(50)), -1);
    CHECK(result["status_code"].is_null());
    EventFd cancel;
    cancel.raise();
    CHECK(test::error_of([&] {
              probe_http({"127.0.0.1", server.port(), "/"}, no_deadline, cancel.fd());
          }).code() == Code::cancelled);
}
