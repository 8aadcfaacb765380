#include "tests/unit/core/http/harness.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <thread>

using namespace minions;
using namespace minions::core;
using namespace minions::core::http;

namespace {

const std::string hold = "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n";
using Clock = std::chrono::steady_clock;

}  // namespace

TEST_CASE("a drain lets requests under way finish and closes idle connections at once") {
    Gate entered;
    Gate release;
    std::atomic<bool> told{false};
    std::atomic<bool> gone{true};
    TestServer host({waiting("/hold",
                             [&](Request& request) {
                                 Gate stopping;
                                 const auto watch = Client::watch(request.client, [&] { stopping.open(); });
                                 entered.open();
                                 told = stopping.wait() && request.client->stopping();
                                 gone = request.client->gone();
                                 release.wait();
                                 return text(200, "held");
                             }),
                     quick("GET", "/x", [](Request&) { return text(200, ""); })});
    auto idle = host.client();
    CHECK(idle.ask("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").status == 200);
    auto holding = host.client();
    holding.send(hold);
    REQUIRE(entered.wait());
    std::thread stop([&] { host.server->stop(20s); });
    CHECK(idle.at_end());
    CHECK_THROWS(host.client());
    release.open();
    const auto answer = holding.read();
    CHECK(answer.body == "held");
    CHECK(told);
    CHECK_FALSE(gone);
    CHECK(answer.header("Connection") == "close");
    CHECK(holding.at_end());
    stop.join();
    CHECK(host.server->connections() == 0);
}

TEST_CASE("at the end of a drain hanging streams are cut") {
    Gate writing;
    Gate told;
    TestServer host({streaming("/hold", [&](Request& request) {
        auto client = request.client;
        return stream(200, "text/plain", [&, client](Stream& out) {
            out.start();
            writing.open();
            Gate gone;
            const auto watch = Client::watch(client, [&] {
                if (client->gone()) gone.open();
            });
            gone.wait();
            try {
                for (int i = 0; i < 3; ++i) out.write("more");
            } catch (const Error&) {
                told.open();
                throw;
            }
        });
    })});
    auto client = host.client();
    client.send(hold);
    REQUIRE(writing.wait());
    const auto before = Clock::now();
    host.server->stop(100ms);
    CHECK(Clock::now() - before < 1100ms);
    CHECK(told.wait());
    CHECK_FALSE(client.read().complete);
}

TEST_CASE("a handler that ignores the end delays it by a second at most") {
    const auto release = std::make_shared<Gate>();
    const auto ended = std::make_shared<Gate>();
    Gate entered;
    Sync<std::string> logged;
    Options options = open_options();
    options.log = [&](LogLevel, std::string_view message) { *logged.lock() += message; };
    TestServer host({waiting("/hold",
                             [&entered, release, ended](Request&) {
                                 entered.open();
                                 release->wait();
                                 ended->open();
                                 return text(200, "");
                             })},
                    options);
    auto client = host.client();
    client.send(hold);
    REQUIRE(entered.wait());
    const auto before = Clock::now();
    host.server->stop(50ms);
    CHECK(Clock::now() - before < 1050ms);
    CHECK(logged.lock()->find("did not end") != std::string::npos);
    release->open();
    CHECK(ended->wait());
}

TEST_CASE("connections and requests come and go while the server stops") {
    for (int round = 0; round < 20; ++round) {
        TestServer host({quick("GET", "/x", [](Request&) { return text(200, "ok"); })});
        std::atomic<bool> over{false};
        std::vector<std::thread> callers;
        std::atomic<int> served{0};
        for (int i = 0; i < 4; ++i) {
            callers.emplace_back([&] {
                try {
                    while (!over) {
                        auto client = host.client();
                        for (int k = 0;
                             k < 10 && client.ask("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").status == 200; ++k)
                            ++served;
                    }
                } catch (const std::exception&) {  // refused, reset: the server is gone
                }
            });
        }
        while (served < 50) std::this_thread::yield();
        const auto before = Clock::now();
        host.server->stop(5s);
        CHECK(Clock::now() - before < 5s);
        CHECK(host.server->connections() == 0);
        over = true;
        for (auto& caller : callers) caller.join();
    }
}
