#include <minions/base/event_fd.hpp>
#include <minions/base/unix_address.hpp>
#include <minions/error.hpp>
#include <minions/http_client/client.hpp>

#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>
#include <functional>
#include <thread>

using namespace minions;
using namespace minions::http;
using namespace std::chrono_literals;

namespace {

/// Listens on a Unix socket and plays one script for each connection, in order, in its own thread.
class Server {
  public:
    using Script = std::function<void(int fd)>;

    explicit Server(std::vector<Script> scripts) {
        std::string name = (std::filesystem::temp_directory_path() / "minions-http-XXXXXX").string();
        folder_ = ::mkdtemp(name.data());
        listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(UnixAddress(path()).bind(listener_.get()) == 0);
        REQUIRE(::listen(listener_.get(), 8) == 0);
        thread_ = std::thread([this, scripts = std::move(scripts)] {
            for (const Script& script : scripts) {
                const Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
                if (!fd) return;
                script(fd.get());
            }
        });
    }
    ~Server() {
        ::shutdown(listener_.get(), SHUT_RDWR);
        thread_.join();
        std::filesystem::remove_all(folder_);
    }
    std::string path() const { return folder_ + "/s"; }
    Endpoint endpoint() const { return Endpoint::unix_socket(path()); }

  private:
    std::string folder_;
    Fd listener_;
    std::thread thread_;
};

void send_text(int fd, std::string_view text) { ::send(fd, text.data(), text.size(), MSG_NOSIGNAL); }

/// Reads until `end` was seen; what was read.
std::string read_until(int fd, std::string_view end = "\r\n\r\n") {
    std::string text;
    char byte = 0;
    while (text.size() < end.size() || text.compare(text.size() - end.size(), end.size(), end) != 0) {
        if (::read(fd, &byte, 1) != 1) break;
        text += byte;
    }
    return text;
}

void wait_for_close(int fd) {
    char buffer[4096];
    while (::read(fd, buffer, sizeof buffer) > 0) {
    }
}

Server::Script reply(std::string text) {
    return [text = std::move(text)](int fd) {
        read_until(fd);
        send_text(fd, text);
    };
}

Call soon() { return {deadline_in(30s), -1}; }

Code code_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& error) {
        INFO(error.what());
        CHECK_FALSE(error.message().empty());
        return error.code();
    }
    FAIL("nothing was thrown");
    return Code::internal;
}

Code failure_of_reply(std::string text, std::size_t max = 1000) {
    const Server server({reply(std::move(text))});
    return code_of([&] { Client(server.endpoint()).request({}, soon(), max); });
}

}  // namespace

TEST_CASE("a reply with a length is collected, the request is what was asked for") {
    std::string seen;
    const Server server({[&](int fd) {
        seen = read_until(fd, "body");
        send_text(fd, "HTTP/1.1 201 Created\r\nContent-Length: 5\r\nX-Some: thing\r\n\r\nhello");
    }});
    const Response response =
        Client(server.endpoint()).request({"POST", "/a?b=c", {{"X-Mine", "1"}}, "body", {}}, soon());
    CHECK(response.status == 201);
    CHECK(response.reason == "Created");
    CHECK(response.header("x-some") == "thing");
    CHECK(response.header("absent").empty());
    CHECK(response.body == "hello");
    CHECK_THAT(seen, Catch::StartsWith("POST /a?b=c HTTP/1.1\r\n") &&
                         Catch::Contains("Content-Length: 4\r\n") && Catch::Contains("Host: localhost\r\n") &&
                         Catch::Contains("X-Mine: 1\r\n"));
}

TEST_CASE("a chunked reply is decoded wherever it is split, and nothing waits past its end") {
    const std::string text =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
    for (std::size_t split = 1; split < text.size(); ++split) {
        const Server server({[&](int fd) {
            read_until(fd);
            send_text(fd, text.substr(0, split));
            std::this_thread::yield();
            send_text(fd, text.substr(split));
            wait_for_close(fd);  // stays open: a client that reads on would hang
        }});
        CHECK(Client(server.endpoint()).request({}, soon()).body == "hello0123456789");
    }
    const Server bytewise({[&](int fd) {
        read_until(fd);
        for (const char each : text) send_text(fd, {&each, 1});
        wait_for_close(fd);
    }});
    CHECK(Client(bytewise.endpoint()).request({}, soon()).body == "hello0123456789");
}

TEST_CASE("a reply without a length ends with the connection") {
    const Server server({reply("HTTP/1.0 200 OK\r\n\r\nall of it")});
    CHECK(Client(server.endpoint()).request({}, soon()).body == "all of it");
}

TEST_CASE("replies without a body do not wait for one") {
    const Server server({[](int fd) {
                             read_until(fd);
                             send_text(fd, "HTTP/1.1 204 No Content\r\n\r\n");
                             wait_for_close(fd);
                         },
                         [](int fd) {
                             read_until(fd);
                             send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
                             wait_for_close(fd);
                         }});
    const Client client(server.endpoint());
    CHECK(client.request({}, soon()).status == 204);
    CHECK(client.request({"HEAD"}, soon()).header("content-length") == "7");
}

TEST_CASE("a body is streamed piece by piece") {
    EventFd first_read;
    const Server server({[&](int fd) {
        read_until(fd);
        send_text(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        first_read.wait(deadline_in(30s));
        send_text(fd, "3\r\ntwo\r\n0\r\n\r\n");
        wait_for_close(fd);
    }});
    Stream stream = Client(server.endpoint()).open({}, soon());
    CHECK(stream.head().status == 200);
    char buffer[100];
    CHECK(stream.read(buffer, sizeof buffer) == 3);
    first_read.raise();
    CHECK(stream.read_all(100) == "two");
    CHECK(stream.read(buffer, sizeof buffer) == 0);
}

TEST_CASE("an early end is unavailable, wherever it comes") {
    CHECK(failure_of_reply("") == Code::unavailable);
    CHECK(failure_of_reply("HTTP/1.1 200") == Code::unavailable);
    CHECK(failure_of_reply("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell") == Code::unavailable);
    CHECK(failure_of_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel") ==
          Code::unavailable);
    CHECK(failure_of_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n") ==
          Code::unavailable);
    CHECK(failure_of_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n") ==
          Code::unavailable);
    CHECK(code_of([] { Client(Endpoint::unix_socket("/nonexistent/s")).request({}, soon()); }) ==
          Code::unavailable);
}

TEST_CASE("replies that make no sense are refused") {
    CHECK(failure_of_reply("SSH-2.0-OpenSSH\r\n\r\n") == Code::internal);
    CHECK(failure_of_reply("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n") == Code::internal);
    CHECK(failure_of_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n") == Code::internal);
    CHECK(failure_of_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n") == Code::internal);
    CHECK(failure_of_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n") ==
          Code::internal);
    CHECK(failure_of_reply("HTTP/1.1 200 OK\r\nX: " + std::string(70000, 'x') + "\r\n\r\n") ==
          Code::internal);
}

TEST_CASE("a body above the limit is refused, one at the limit is not") {
    CHECK(failure_of_reply("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 4) == Code::too_large);
    CHECK(failure_of_reply("HTTP/1.1 200 OK\r\n\r\nhello", 4) == Code::too_large);
    const Server server({reply("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")});
    CHECK(Client(server.endpoint()).request({}, soon(), 5).body == "hello");
}

TEST_CASE("requests that would smuggle lines are refused") {
    const Server server({[](int) {}, [](int) {}, [](int) {}});
    const Client real(server.endpoint());
    CHECK(code_of([&] { real.request({"GET", "/a b", {}, {}, {}}, soon()); }) == Code::invalid);
    CHECK(code_of([&] {
              real.request({"GET", "/", {{"X", "a\r\nY: b"}}, {}, {}}, soon());
          }) == Code::invalid);
    CHECK(code_of([&] { real.request({"GET /", "/", {}, {}, {}}, soon()); }) == Code::invalid);
}

TEST_CASE("deadline and cancellation end a call while it waits for head or body") {
    const auto silent = [](int fd) { wait_for_close(fd); };
    const auto half = [](int fd) {
        read_until(fd);
        send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
        wait_for_close(fd);
    };
    const Server server({silent, half, silent, half});
    const Client client(server.endpoint());
    CHECK(code_of([&] { client.request({}, {deadline_in(50ms), -1}); }) == Code::deadline);
    CHECK(code_of([&] { client.request({}, {deadline_in(50ms), -1}); }) == Code::deadline);
    EventFd cancel;
    std::thread canceller([&] { cancel.raise(); });
    CHECK(code_of([&] { client.request({}, {deadline_in(30s), cancel.fd()}); }) == Code::cancelled);
    canceller.join();
    cancel.clear();
    Stream stream = client.open({}, {deadline_in(30s), cancel.fd()});
    char buffer[10];
    CHECK(stream.read(buffer, 10) == 2);
    cancel.raise();
    CHECK(code_of([&] { stream.read(buffer, 10); }) == Code::cancelled);
}

TEST_CASE("a body can have another deadline than its head") {
    const Server server({[](int fd) {
        read_until(fd);
        send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
        wait_for_close(fd);
    }});
    Stream stream = Client(server.endpoint()).open({}, {deadline_in(30s), -1});
    stream.set_deadline(deadline_in(50ms));
    char buffer[10];
    CHECK(stream.read(buffer, 10) == 2);
    CHECK(code_of([&] { stream.read(buffer, 10); }) == Code::deadline);
}

TEST_CASE("a server that never pauses does not outlast the deadline") {
    const Server server({[](int fd) {
        read_until(fd);
        send_text(fd, "HTTP/1.1 200 OK\r\n\r\n");
        const std::string much(100000, 'x');
        while (::send(fd, much.data(), much.size(), MSG_NOSIGNAL) > 0) {
        }
    }});
    CHECK(code_of([&] {
              Stream stream = Client(server.endpoint()).open({}, {deadline_in(100ms), -1});
              char buffer[4096];
              while (stream.read(buffer, sizeof buffer) > 0) {
              }
          }) == Code::deadline);
}

TEST_CASE("an upgraded connection is handed over with what came along") {
    const Server server({[](int fd) {
        read_until(fd);
        send_text(fd, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly");
        if (read_until(fd, "ping") == "ping") send_text(fd, "pong");
    }});
    Stream stream =
        Client(server.endpoint())
            .open({"POST", "/exec", {{"Connection", "Upgrade"}, {"Upgrade", "tcp"}}, {}, {}}, soon());
    REQUIRE(stream.head().status == 101);
    const Hijacked raw = stream.hijack();
    std::string early = raw.buffered;
    if (early.size() < 5) early += read_until(raw.fd.get(), std::string("early").substr(early.size()));
    CHECK(early == "early");
    write_all(raw.fd.get(), "ping", 4);
    CHECK(read_until(raw.fd.get(), "pong") == "pong");
    CHECK(code_of([&] { stream.hijack(); }) == Code::internal);
}

TEST_CASE("connections are kept, and one the server closed is replaced") {
    const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    int connections = 0;
    const Server server({[&](int fd) {
                             ++connections;
                             for (int i = 0; i < 3; ++i) {
                                 read_until(fd);
                                 if (i < 2) send_text(fd, ok);  // the third gets no reply
                             }
                         },
                         [&](int fd) {
                             ++connections;
                             read_until(fd);
                             send_text(fd, ok);
                             read_until(fd);
                         }});
    const Client client(server.endpoint(), 2);
    CHECK(client.request({}, soon()).body == "ok");
    CHECK(client.request({}, soon()).body == "ok");
    CHECK(connections == 1);
    CHECK(client.request({}, soon()).body == "ok");
    CHECK(connections == 2);
    // Not sent twice: nobody knows whether the first was carried out.
    CHECK(code_of([&] { client.request({"POST"}, soon()); }) == Code::unavailable);
}

TEST_CASE("a body from a source is sent in chunks; a refusal ends the upload") {
    std::string seen;
    const Server server({[&](int fd) {
                             seen = read_until(fd, "0\r\n\r\n");
                             send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                         },
                         [&](int fd) {
                             read_until(fd);
                             send_text(fd, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
                             ::shutdown(fd, SHUT_WR);
                             EventFd never;
                             pollfd hangup{fd, 0, 0};
                             poll_until(&hangup, 1, deadline_in(30s));
                         }});
    const Client client(server.endpoint());
    std::vector<std::string> pieces = {"world", "hello "};
    Request request{"POST", "/build", {}, {}, [&](char* data, std::size_t) -> std::size_t {
                        if (pieces.empty()) return 0;
                        const std::string next = pieces.back();
                        pieces.pop_back();
                        return next.copy(data, next.size());
                    }};
    CHECK(client.request(request, soon()).status == 200);
    CHECK_THAT(seen, Catch::Contains("chunked") &&
                         Catch::EndsWith("\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"));
    request.source = [](char* data, std::size_t size) {
        std::fill(data, data + size, 'x');
        return size;
    };
    const Response refused = client.request(request, soon());
    CHECK(refused.status == 413);
    CHECK(refused.body == "big");
}

TEST_CASE("TCP endpoints are reached by name and by address") {
    const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener.get(), 8) == 0);
    socklen_t size = sizeof address;
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
    const std::uint16_t port = ntohs(address.sin_port);
    std::string seen;
    std::thread server([&] {
        for (int i = 0; i < 2; ++i) {
            const Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
            seen = read_until(fd.get());
            send_text(fd.get(), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    CHECK(Client(Endpoint::tcp("localhost", port)).request({}, soon()).body == "ok");
    CHECK(Client({{}, "name.invalid", port, "127.0.0.1"}).request({}, soon()).body == "ok");
    server.join();
    CHECK_THAT(seen, Catch::Contains("Host: name.invalid:" + std::to_string(port)));
    CHECK(code_of([&] { Client({{}, "x", port, "no-address"}).request({}, soon()); }) == Code::invalid);
}
