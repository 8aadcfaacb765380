#include "tests/unit/core/http/harness.hpp"

#include <minions/base/unix_address.hpp>

#include <catch2/catch.hpp>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

using namespace minions;
using namespace minions::core;
using namespace minions::core::http;

namespace {

Reply echo(Request& request) {
    Value queries = Value::object();
    for (const auto& [name, value] : request.queries()) queries.set(name, value);
    return json(200,
                Value::object({{"method", request.method()}, {"body", request.body}, {"query", queries}}));
}

struct Directory {
    std::filesystem::path path;
    Directory() {
        char name[] = "/tmp/minions-http-XXXXXX";
        path = ::mkdtemp(name);
    }
    ~Directory() { std::filesystem::remove_all(path); }
};

std::string get(std::string_view path, std::string_view more = {}) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n" + std::string(more) + "\r\n";
}

std::string post(std::string_view path, std::string_view headers, std::string_view body) {
    return "POST " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n" + std::string(headers) + "\r\n" +
           std::string(body);
}

}  // namespace

TEST_CASE("one connection serves many requests, also several at once") {
    const TestServer host({quick("GET", "/echo", echo)});
    auto client = host.client();
    for (int i = 0; i < 3; ++i) CHECK(client.ask(get("/echo")).status == 200);
    std::string many;
    for (int i = 0; i < 50; ++i) many += get("/echo?i=" + std::to_string(i));
    client.send(many);
    for (int i = 0; i < 50; ++i) {
        const auto answer = client.read();
        CHECK(answer.status == 200);
        CHECK(answer.body.find("\"i\":\"" + std::to_string(i) + "\"") != std::string::npos);
    }
    CHECK(host.server->connections() == 1);
}

TEST_CASE("a request may come byte by byte, with the next one behind it") {
    const TestServer host({quick("POST", "/echo", echo)});
    auto client = host.client();
    const std::string request =
        post("/echo", "Content-Type: application/json\r\nContent-Length: 2\r\n", "{}");
    for (const char c : request + request.substr(0, 10)) client.send(std::string_view(&c, 1));
    CHECK(client.read().body == R"({"method":"POST","body":"{}","query":{}})");
    CHECK(client.ask(request.substr(10)).status == 200);
}

TEST_CASE("connections end when the client wants it") {
    const TestServer host({quick("GET", "/echo", echo)});
    auto closing = host.client();
    CHECK(closing.ask(get("/echo", "Connection: close\r\n")).header("Connection") == "close");
    CHECK(closing.at_end());
    auto old = host.client();
    CHECK(old.ask("GET /echo HTTP/1.0\r\n\r\n").status == 200);
    CHECK(old.at_end());
    auto kept = host.client();
    CHECK(kept.ask("GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").header("Connection") ==
          "keep-alive");
    CHECK(kept.ask("GET /echo HTTP/1.0\r\n\r\n").status == 200);
    auto half = host.client();
    half.send(get("/echo"));
    half.half_close();
    CHECK(half.read().status == 200);
    CHECK(half.at_end());
}

TEST_CASE("HEAD, OPTIONS and methods that do not exist") {
    const TestServer host({quick("GET", "/echo", echo)});
    auto client = host.client();
    const auto whole = client.ask(get("/echo"));
    auto head = client.ask("HEAD /echo HTTP/1.1\r\nHost: x\r\n\r\n", true);
    CHECK(head.status == 200);
    CHECK(std::stoul(head.header("Content-Length")) == whole.body.size() + 1);  // "HEAD" for "GET"
    const auto options = client.ask("OPTIONS /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(options.status == 204);
    CHECK(options.header("Allow") == "GET, HEAD, OPTIONS");
    CHECK(client.ask("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").status == 204);
    const auto put = client.ask("PUT /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(put.status == 405);
    CHECK(put.header("Allow") == "GET, HEAD, OPTIONS");
    CHECK(put.body.find(R"("code":"method_not_allowed")") != std::string::npos);
    const auto missing = client.ask(get("/nowhere"));
    CHECK(missing.status == 404);
    CHECK(missing.body == R"({"error":"there is nothing at /nowhere","code":"not_found"})");
    CHECK(client.ask(get("/api/v1/vm/nowhere")).body ==
          R"({"detail":"there is nothing at /api/v1/vm/nowhere"})");
}

TEST_CASE("bodies: chunked, expected, empty, wrong") {
    Route required = quick("POST", "/required", echo);
    required.body = BodyKind::json_required;
    Route none = quick("POST", "/none", echo);
    none.body = BodyKind::none;
    Route small = quick("POST", "/small", echo);
    small.max_body = 10;
    const TestServer host({quick("POST", "/echo", echo), required, none, small});
    const std::string type = "Content-Type: application/json; charset=utf-8\r\n";
    auto client = host.client();
    CHECK(client.ask(post("/echo", type + "Transfer-Encoding: chunked\r\n", "1\r\n[\r\n1\r\n]\r\n0\r\n\r\n"))
              .body.find(R"("body":"[]")") != std::string::npos);
    CHECK(client.ask(post("/echo", "", "")).status == 200);
    CHECK(client.ask(post("/required", type + "Content-Length: 0\r\n", "")).status == 200);
    CHECK(client.ask(post("/required", type, "")).status == 411);
    CHECK(client.ask(post("/none", "Content-Length: 0\r\n", "")).status == 200);

    client.send(post("/echo", type + "Expect: 100-continue\r\nContent-Length: 2\r\n", ""));
    CHECK(client.read().status == 100);
    CHECK(client.ask("{}").status == 200);

    struct Case {
        int status;
        std::string request;
    };
    const Case refused[] = {
        {413, post("/none", "Content-Length: 1\r\n", "x")},
        {413, post("/small", type + "Content-Length: 11\r\n", "01234567890")},
        {413, post("/small", type + "Transfer-Encoding: chunked\r\n", "b\r\n01234567890\r\n0\r\n\r\n")},
        {413, post("/small", type + "Content-Length: 11\r\nExpect: 100-continue\r\n", "")},
        {415, post("/echo", "Content-Length: 2\r\n", "{}")},
        {415, post("/echo", "Content-Type: text/plain\r\nContent-Length: 2\r\n", "{}")},
        {415, post("/echo", "Content-Type: application/jsonx\r\nContent-Length: 2\r\n", "{}")},
        {415,
         post("/echo", "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n",
              "0\r\n\r\n")},
        {400, post("/echo", type + "Transfer-Encoding: chunked\r\n", "zz\r\n")},
        {404, post("/nowhere", "Content-Length: 2\r\n", "{}")},
    };
    for (const auto& [status, request] : refused) {
        INFO(request);
        auto other = host.client();
        // What follows a body that nobody read must not be taken for a request.
        const auto answer = other.ask(request + get("/echo"));
        CHECK(answer.status == status);
        CHECK(answer.header("Connection") == "close");
        other.half_close();
        CHECK(other.at_end());
    }
}

TEST_CASE("smuggling attempts end the connection") {
    std::atomic<int> served{0};
    const TestServer host({quick("POST", "/", [&](Request&) {
        ++served;
        return text(200, "");
    })});
    for (const char* headers :
         {"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 4\r\nContent-Length: 0\r\n",
          "Transfer-Encoding : chunked\r\n", "X: a\r\n Transfer-Encoding: chunked\r\n",
          "Content-Length: 0\nTransfer-Encoding: chunked\r\n", "X: a\rTransfer-Encoding: chunked\r\n"}) {
        INFO(headers);
        auto client = host.client();
        CHECK(client.ask(post("/", headers, "0\r\n\r\n" + post("/", "", ""))).status == 400);
        client.half_close();
        CHECK(client.at_end());
    }
    CHECK(served == 0);
}

TEST_CASE("exceptions become replies, and bugs are logged with the request's id") {
    Sync<std::string> logged;
    Options options = open_options();
    options.log = [&](LogLevel level, std::string_view message) {
        if (level == LogLevel::error) *logged.lock() += message;
    };
    const TestServer host(
        {quick("GET", "/busy", [](Request&) -> Reply { throw Error(Code::busy, "taken"); }),
         quick("GET", "/bug", [](Request&) -> Reply { throw std::runtime_error("a bug"); }),
         quick("GET", "/odd", [](Request&) -> Reply { throw 42; }),
         quick("GET", "/away", [](Request&) -> Reply { throw Error(Code::unavailable, "away"); }),
         quick("GET", "/split",
               [](Request&) {
                   Reply reply = text(200, "x");
                   reply.headers.emplace_back("X", "a\r\nSet-Cookie: b");
                   return reply;
               })},
        options);
    auto client = host.client();
    CHECK(client.ask(get("/busy")).status == 409);
    const auto bug = client.ask(get("/bug"));
    CHECK(bug.status == 500);
    const std::string id = bug.header("X-Request-Id");
    REQUIRE_FALSE(id.empty());
    CHECK(bug.body.find(id) != std::string::npos);
    CHECK(logged.lock()->find(id) != std::string::npos);
    CHECK(client.ask(get("/odd")).status == 500);
    CHECK_FALSE(client.ask(get("/away")).header("Retry-After").empty());
    const auto split = client.ask(get("/split"));
    CHECK(split.status == 500);
    CHECK(split.head.find("Set-Cookie") == std::string::npos);
}

TEST_CASE("who may not call is told before the body is read; some routes ask nobody") {
    Options options = open_options();
    options.authorize = [](Request& request, Permission needed) -> Principal {
        CHECK(needed == Permission::read);
        if (request.header("authorization")) return {"known", Scope::read};
        throw Error(Code::unauthenticated, "who are you?");
    };
    Route open = quick("GET", "/healthz", echo);
    open.permission = Permission::none;
    const TestServer host(
        {quick("POST", "/", [](Request& request) { return text(200, request.principal.name); }), open},
        options);
    auto client = host.client();
    CHECK(client.ask(get("/healthz")).status == 200);
    CHECK(client.ask(post("/", "Authorization: x\r\n", "")).body == "known");
    const auto refused =
        client.ask(post("/", "Content-Length: 1000\r\nContent-Type: application/json\r\n", ""));
    CHECK(refused.status == 401);
    CHECK(refused.header("WWW-Authenticate") == "Bearer");
}

TEST_CASE("requests are observed by route, not by path") {
    Sync<std::vector<std::string>> seen;
    Options options = open_options();
    options.observe = [&](const Observation& it) {
        seen.lock()->push_back(std::string(it.method) + " " + std::string(it.route) + " " +
                               std::to_string(it.status));
        CHECK(it.duration.count() >= 0);
    };
    TestServer host({quick("GET", "/a/{x}", echo)}, options);
    auto client = host.client();
    client.ask(get("/a/b"));
    client.ask(get("/c"));
    host.server->stop(5s);
    CHECK(*seen.lock() == std::vector<std::string>{"GET /a/{x} 200", "GET  404"});
}

TEST_CASE("one large shared body goes to many clients, whole") {
    const auto body = std::make_shared<const std::string>(3'000'000, 'b');
    const TestServer host({quick("GET", "/big", [&](Request&) { return json_text(200, body); })});
    std::vector<RawClient> clients;
    for (int i = 0; i < 32; ++i) {
        clients.push_back(host.client());
        clients.back().send(get("/big"));
    }
    // Nobody has read anything yet, and still others are served.
    auto other = host.client();
    CHECK(other.ask(get("/nowhere")).status == 404);
    for (auto& client : clients) CHECK(client.read().body == *body);
}

TEST_CASE("Unix sockets: mode, group, peer, stale and live files") {
    const Directory directory;
    const std::string path = directory.path / "http.sock";
    {
        // A file left behind by a daemon that was killed.
        const Fd old(::socket(AF_UNIX, SOCK_STREAM, 0));
        REQUIRE(UnixAddress(path).bind(old.get()) == 0);
    }
    Options options = open_options();
    options.unix_sockets = {path};
    options.socket_group = "daemon";
    const auto whoami = [](Request& request) { return text(200, request.peer->text()); };
    TestServer host({quick("GET", "/", whoami)}, options);
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0660);
    const group* expected = ::getgrnam("daemon");
    if (::geteuid() == 0 && expected != nullptr) CHECK(info.st_gid == expected->gr_gid);
    CHECK(RawClient(path).ask(get("/")).body ==
          "uid " + std::to_string(::getuid()) + " pid " + std::to_string(::getpid()));

    const auto start_again = [&] { TestServer second({quick("GET", "/", whoami)}, options); };
    CHECK_THROWS_AS(start_again(), Error);
    CHECK(RawClient(path).ask(get("/")).status == 200);
    host.server->stop(5s);
    CHECK(::stat(path.c_str(), &info) != 0);

    std::ofstream(path) << "precious";
    CHECK_THROWS_AS(start_again(), Error);
    CHECK(std::filesystem::file_size(path) == 8);
}

TEST_CASE("addresses that cannot be listened on are named") {
    const auto start = [](const std::string& address) {
        Options options = open_options();
        options.tcp = {address};
        Server(options, Router({quick("GET", "/", echo)}));
    };
    CHECK_THROWS_WITH(start("127.0.0.1:notaport"), Catch::Contains("127.0.0.1:notaport"));
    const TestServer host({quick("GET", "/", echo)});
    CHECK_THROWS_WITH(start(host.server->bound().front()), Catch::Contains("in use"));
}
