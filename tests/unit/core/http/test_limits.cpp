#include "tests/unit/core/http/harness.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <sys/resource.h>
#include <sys/socket.h>

#include <thread>

using namespace minions;
using namespace minions::core;
using namespace minions::core::http;

namespace {

const std::string request = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";

Route small() {
    return quick("GET", "/x", [](Request&) { return text(200, "ok"); });
}

}  // namespace

TEST_CASE("limits of the head answer with their status and close") {
    Options options = open_options();
    options.limits.uri_bytes = 100;
    options.limits.header_bytes = 1000;
    const TestServer host({small()}, options);
    const std::pair<int, std::string> cases[] = {
        {414, "GET /" + std::string(200, 'a')},
        {431, "GET /x HTTP/1.1\r\nHost: x\r\nX: " + std::string(2000, 'a')},
        {400, "hello\n"},
        {400, "\x16\x03\x01"},
    };
    for (const auto& [status, bytes] : cases) {
        auto client = host.client();
        const auto answer = client.ask(bytes);
        CHECK(answer.status == status);
        CHECK(answer.header("Connection") == "close");
        client.half_close();
        CHECK(client.at_end());
    }
}

TEST_CASE("a refusal before there is a request has the form of its path, and is counted") {
    Options options = open_options();
    options.limits.uri_bytes = 100;
    options.limits.header_bytes = 1000;
    options.limits.header_timeout = 100ms;
    options.limits.body_timeout = 100ms;
    Sync<std::vector<int>> seen;
    options.observe = [&](const Observation& of) { seen.lock()->push_back(of.status); };
    const std::string head = " HTTP/1.1\r\nHost: x\r\n";
    const std::pair<int, std::string> cases[] = {
        {414, "GET {}/" + std::string(200, 'a')},
        {431, "GET {}" + head + "X: " + std::string(2000, 'a')},
        {400, "GET {}/%zz" + head + "\r\n"},
        {400, "GET {}/%00" + head + "\r\n"},
        {400, "GET {}?a=%zz" + head + "\r\n"},
        {400, "GET {}" + head + "Host: y\r\n\r\n"},
        {408, "GET {}" + head},
        {408, "POST {}" + head + "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"},
    };
    std::vector<int> expected;
    {
        const TestServer host({quick("POST", "/api/v1/vm", [](Request&) { return text(200, ""); }),
                               quick("POST", "/api/vms", [](Request&) { return text(200, ""); })},
                              options);
        for (const auto& [status, form] : cases) {
            CAPTURE(form);
            const auto detail = host.client().ask(fmt::format(fmt::runtime(form), "/api/v1/vm"));
            CHECK(detail.status == status);
            CHECK(parse_json(detail.body).find("detail") != nullptr);
            const auto error = host.client().ask(fmt::format(fmt::runtime(form), "/api/vms"));
            CHECK(error.status == status);
            CHECK(parse_json(error.body).find("code") != nullptr);
            expected.insert(expected.end(), 2, status);
        }
    }
    CHECK(*seen.lock() == expected);
}

TEST_CASE("a head or body that does not come in time is a 408, a silent connection is closed") {
    Options options = open_options();
    options.limits.header_timeout = 100ms;
    options.limits.body_timeout = 100ms;
    options.limits.idle_timeout = 100ms;
    const TestServer host({small(), quick("POST", "/x", [](Request&) { return text(200, "ok"); })}, options);
    auto head = host.client();
    CHECK(head.ask("GET /x HT").status == 408);
    auto body = host.client();
    CHECK(
        body.ask(
                "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
            .status == 408);
    auto silent = host.client();
    CHECK(silent.at_end());
    auto kept = host.client();
    CHECK(kept.ask(request).status == 200);
    CHECK(kept.at_end());
}

TEST_CASE("who never reads is closed and lets go of the body") {
    Options options = open_options();
    options.limits.write_timeout = 100ms;
    auto body = std::make_shared<const std::string>(20'000'000, 'b');
    const TestServer host({quick("GET", "/x", [&](Request&) { return json_text(200, body); })}, options);
    auto client = host.client();
    client.send(request);
    CHECK(RawClient(host.server->bound().front()).ask("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").status ==
          404);
    const auto until = std::chrono::steady_clock::now() + 10s;
    while (host.server->connections() > 0 && std::chrono::steady_clock::now() < until)
        std::this_thread::yield();
    CHECK(host.server->connections() == 0);
    CHECK_FALSE(client.read().complete);
}

TEST_CASE("with all connections in use the idlest makes room") {
    Options options = open_options();
    options.limits.connections = 3;
    options.limits.workers = 1;  // which finishes with one connection before it looks at the next
    Gate entered;
    Gate release;
    const TestServer host({small(), waiting("/hold",
                                            [&](Request&) {
                                                entered.open();
                                                release.wait();
                                                return text(200, "held");
                                            })},
                          options);
    auto first = host.client();
    CHECK(first.ask(request).status == 200);
    auto second = host.client();
    CHECK(second.ask(request).status == 200);
    auto holding = host.client();
    holding.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    REQUIRE(entered.wait());
    auto fourth = host.client();
    CHECK(fourth.ask(request).status == 200);
    CHECK(first.at_end());
    CHECK(second.ask(request).status == 200);
    release.open();
    CHECK(holding.read().body == "held");
}

TEST_CASE("with all connections busy a new one is turned away") {
    Options options = open_options();
    options.limits.connections = 1;
    Gate entered;
    Gate release;
    const TestServer host({waiting("/hold",
                                   [&](Request&) {
                                       entered.open();
                                       release.wait();
                                       return text(200, "held");
                                   })},
                          options);
    auto holding = host.client();
    holding.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    REQUIRE(entered.wait());
    auto late = host.client();
    const auto answer = late.read();
    CHECK(answer.status == 503);
    CHECK_FALSE(answer.header("Retry-After").empty());
    release.open();
    CHECK(holding.read().status == 200);
}

TEST_CASE("a thousand connections that never finish their head do not disturb others") {
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = std::min<rlim_t>(files.rlim_max, 8192);
    ::setrlimit(RLIMIT_NOFILE, &files);
    REQUIRE(files.rlim_cur >= 2500);
    const TestServer host({small()});
    std::vector<RawClient> slow;
    for (int i = 0; i < 1000; ++i) slow.push_back(host.client());
    const std::string drip = "GET /x HTTP/1.1\r\nHost: x\r\nX: aaaaaaaaaaaaaaaaaaaa";
    std::vector<RawClient> fast;
    for (int i = 0; i < 64; ++i) fast.push_back(host.client());
    for (std::size_t byte = 0; byte < 20; ++byte) {
        for (auto& client : slow) client.send(drip.substr(byte, 1));
        for (auto& client : fast) client.send(request);
        for (auto& client : fast) CHECK(client.read().status == 200);
    }
    CHECK(host.server->connections() == 1064);
    CHECK(slow.front().ask(drip.substr(20) + "\r\n\r\n").status == 200);
}
