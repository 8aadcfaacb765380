#include "core/http/lane.hpp"
#include "tests/unit/core/http/harness.hpp"

#include <Poco/Net/StreamSocket.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <sys/socket.h>

#include <atomic>
#include <thread>

using namespace minions;
using namespace minions::core;
using namespace minions::core::http;

namespace {

std::string get(std::string_view path, std::string_view more = {}) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n" + std::string(more) + "\r\n";
}

Route small() {
    return quick("GET", "/quick", [](Request&) { return text(200, "ok"); });
}

// Waits as an operation would: until somebody ends it, or the caller is gone.
bool wait_until_gone(Request& request) {
    Gate changed;
    const auto watch = Client::watch(request.client, [&] { changed.open(); });
    return changed.wait() && request.client->gone();
}

}  // namespace

TEST_CASE("handlers that wait do not delay quick ones, and are bounded") {
    Options options = open_options();
    options.limits.waiting_threads = 4;
    options.limits.workers = 2;
    std::atomic<int> entered{0};
    Gate all_in;
    Gate release;
    const TestServer host(
        {small(),
         waiting("/wait",
                 [&](Request&) {
                     if (++entered == 4) all_in.open();
                     release.wait();
                     return text(200, "waited");
                 }),
         streaming(
             "/stream",
             [](Request&) { return stream(200, "text/plain", [](Stream& out) { out.write("streamed"); }); }),
         command("/run", [](Request&) { return text(200, "ran"); })},
        options);
    std::vector<RawClient> waiters;
    for (int i = 0; i < 4; ++i) {
        waiters.push_back(host.client());
        waiters.back().send(get("/wait"));
    }
    REQUIRE(all_in.wait());
    auto client = host.client();
    CHECK(client.ask(get("/quick")).status == 200);
    CHECK(client.ask(get("/stream")).body == "streamed");
    CHECK(client.ask(get("/run")).body == "ran");
    const auto full = client.ask(get("/wait"));
    CHECK(full.status == 429);
    CHECK_FALSE(full.header("Retry-After").empty());
    CHECK(full.body.find(R"("code":"too_many_requests")") != std::string::npos);
    CHECK(full.body.find("http.waiting_threads = 4") != std::string::npos);
    CHECK(client.ask(get("/quick")).status == 200);
    release.open();
    for (auto& waiter : waiters) CHECK(waiter.read().body == "waited");
    // The connections go on as before.
    for (auto& waiter : waiters) CHECK(waiter.ask(get("/quick") + get("/wait")).status == 200);
    for (auto& waiter : waiters) CHECK(waiter.read().body == "waited");
}

TEST_CASE("commands keep no change waiting") {
    Options options = open_options();
    options.limits.exec_threads = 1;
    Gate entered;
    Gate release;
    const TestServer host({waiting("/change", [](Request&) { return text(200, "changed"); }),
                           command("/run",
                                   [&](Request&) {
                                       entered.open();
                                       release.wait();
                                       return text(200, "ran");
                                   })},
                          options);
    auto running = host.client();
    running.send(get("/run"));
    REQUIRE(entered.wait());
    auto client = host.client();
    CHECK(client.ask(get("/change")).body == "changed");
    const auto full = client.ask(get("/run"));
    CHECK(full.status == 429);
    CHECK(full.body.find("http.exec_threads = 1") != std::string::npos);
    release.open();
    CHECK(running.read().body == "ran");
}

TEST_CASE("threads of a lane retire") {
    LanePool pool("test", 2, 10ms);
    Gate done;
    REQUIRE(pool.try_run([&] { done.open(); }));
    REQUIRE(done.wait());
    const auto until = std::chrono::steady_clock::now() + 10s;
    while (pool.threads() > 0 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
    CHECK(pool.threads() == 0);
    CHECK(pool.stop(std::chrono::steady_clock::now() + 1s));
    CHECK_FALSE(pool.try_run([] {}));
}

TEST_CASE("a waiting handler learns that its caller is gone") {
    Gate entered;
    Gate told;
    const TestServer host({waiting("/wait", [&](Request& request) {
        CHECK_FALSE(request.client->gone());
        entered.open();
        if (wait_until_gone(request)) told.open();
        return text(200, "");
    })});
    auto client = host.client();
    client.send(get("/wait"));
    REQUIRE(entered.wait());
    client.close();
    CHECK(told.wait());
}

TEST_CASE("what a client sends early does not look like its end") {
    Gate entered;
    Gate release;
    std::atomic<bool> gone{true};
    const TestServer host({small(), waiting("/wait", [&](Request& request) {
                               entered.open();
                               release.wait();
                               gone = request.client->gone();
                               return text(200, "");
                           })});
    auto client = host.client();
    client.send(get("/wait"));
    REQUIRE(entered.wait());
    client.send(get("/quick"));
    release.open();
    CHECK(client.read().status == 200);
    CHECK(client.read().body == "ok");
    CHECK_FALSE(gone);
}

TEST_CASE("streams are chunked, kept alive, and closed by their end in HTTP/1.0") {
    const auto three = [](Request&) {
        return stream(200, "text/event-stream", [](Stream& out) {
            for (const auto* part : {"one ", "", "two ", "three"}) out.write(part);
        });
    };
    Route quick_route = quick("GET", "/quick-stream", three);
    const auto endless = [](Request&) {
        return stream(200, "text/event-stream", [](Stream& out) {
            for (;;) out.write("more ");
        });
    };
    const TestServer host(
        {small(), streaming("/s", three), quick_route, waiting("/w", three), streaming("/endless", endless)});
    auto client = host.client();
    for (const auto* path : {"/s", "/quick-stream", "/w"}) {
        const auto answer = client.ask(get(path));
        CHECK(answer.body == "one two three");
        CHECK(answer.header("Transfer-Encoding") == "chunked");
        CHECK(answer.header("Content-Type") == "text/event-stream");
    }
    for (const auto* path : {"/s", "/endless"}) {
        CHECK(client.ask(fmt::format("HEAD {} HTTP/1.1\r\nHost: x\r\n\r\n", path), true).status == 200);
    }
    CHECK(client.ask(get("/quick")).body == "ok");
    auto old = host.client();
    const auto answer = old.ask("GET /s HTTP/1.0\r\n\r\n");
    CHECK(answer.body == "one two three");
    CHECK(answer.header("Transfer-Encoding").empty());
}

TEST_CASE("a stream that fails never looks complete") {
    const TestServer host({streaming("/early",
                                     [](Request&) {
                                         return stream(200, "text/plain",
                                                       [](Stream&) { throw Error(Code::busy, "taken"); });
                                     }),
                           streaming("/late", [](Request&) {
                               return stream(200, "text/plain", [](Stream& out) {
                                   out.write("some");
                                   throw Error(Code::internal, "broken");
                               });
                           })});
    auto client = host.client();
    CHECK(client.ask(get("/early")).status == 409);
    CHECK(client.ask("HEAD /early HTTP/1.1\r\nHost: x\r\n\r\n", true).status == 409);
    const auto late = client.ask(get("/late"));
    CHECK_FALSE(late.complete);
    CHECK(client.at_end());
}

TEST_CASE("a stream learns that its client is gone, idle or writing") {
    Gate started;
    Gate idle_told;
    Gate writer_told;
    const TestServer host({streaming("/idle",
                                     [&](Request& request) {
                                         auto client = request.client;
                                         return stream(200, "text/plain", [&, client](Stream& out) {
                                             Gate changed;
                                             const auto watch =
                                                 Client::watch(client, [&] { changed.open(); });
                                             out.start();
                                             if (changed.wait() && client->should_end()) idle_told.open();
                                         });
                                     }),
                           streaming("/write", [&](Request&) {
                               return stream(200, "text/plain", [&](Stream& out) {
                                   try {
                                       for (;;) out.write(std::string(65536, 'x'));
                                   } catch (const Error& error) {
                                       if (error.code() == Code::cancelled) writer_told.open();
                                       throw;
                                   }
                               });
                           })});
    for (const auto* path : {"/idle", "/write"}) {
        auto client = host.client();
        client.send(get(path));
        char byte = 0;
        REQUIRE(::recv(client.fd(), &byte, 1, 0) == 1);
        client.close();
    }
    CHECK(idle_told.wait());
    CHECK(writer_told.wait());
}

TEST_CASE("a stream whose client does not read gives up after the write timeout") {
    Options options = open_options();
    options.limits.write_timeout = 50ms;
    Gate told;
    const TestServer host({streaming("/write",
                                     [&](Request&) {
                                         return stream(200, "text/plain", [&](Stream& out) {
                                             try {
                                                 for (;;) out.write(std::string(65536, 'x'));
                                             } catch (const Error&) {
                                                 told.open();
                                                 throw;
                                             }
                                         });
                                     })},
                          options);
    auto client = host.client();
    client.send(get("/write"));
    CHECK(told.wait());
}

namespace {

Route upload(std::string_view pattern, std::size_t max, Handler handler) {
    return {"PUT", pattern, Permission::manage, Lane::stream, BodyKind::raw, max, std::move(handler)};
}

Reply count_body(Request& request) {
    std::size_t total = 0;
    char buffer[1000];
    while (const std::size_t got = request.reader->read(buffer, sizeof buffer)) total += got;
    return text(200, std::to_string(total));
}

std::string put(std::string_view path, std::string_view headers) {
    return "PUT " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n" + std::string(headers) + "\r\n";
}

}  // namespace

TEST_CASE("raw bodies are read as they arrive") {
    Gate first_part;
    const TestServer host({small(), upload("/count", 0, count_body), upload("/small", 10, count_body),
                           upload("/ignore", 0, [](Request&) { return text(200, "ignored"); }),
                           upload("/parts", 0, [&](Request& request) {
                               char byte = 0;
                               REQUIRE(request.reader->read(&byte, 1) == 1);
                               first_part.open();
                               return count_body(request);
                           })});
    auto client = host.client();
    const std::string large(2'000'000, 'x');
    CHECK(client.ask(put("/count", "Content-Length: 2000000\r\n") + large).body == "2000000");
    CHECK(client.ask(put("/count", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
              .body == "5");
    CHECK(client.ask(put("/count", "")).body == "0");
    CHECK(client.ask(put("/ignore", "Content-Length: 3\r\n") + "abc").body == "ignored");
    client.send(put("/count", "Content-Length: 3\r\nExpect: 100-continue\r\n"));
    CHECK(client.read().status == 100);
    CHECK(client.ask("abc").body == "3");
    client.send(put("/parts", "Content-Length: 3\r\n") + "a");
    REQUIRE(first_part.wait());
    CHECK(client.ask("bc").body == "2");
    CHECK(client.ask(get("/quick")).status == 200);

    auto beyond = host.client();
    CHECK(beyond.ask(put("/small", "Content-Length: 11\r\n")).status == 413);
    auto chunked = host.client();
    CHECK(chunked.ask(put("/small", "Transfer-Encoding: chunked\r\n") + "b\r\n01234567890\r\n0\r\n\r\n")
              .status == 413);
    chunked.half_close();
    CHECK(chunked.at_end());
    auto unread = host.client();
    // Too much to throw away: the reply comes all the same, and the connection ends.
    CHECK(unread.ask(put("/ignore", "Content-Length: 1000000000\r\n") + large).header("Connection") ==
          "close");
}

TEST_CASE("a body that breaks off is told to its reader") {
    Gate told;
    const TestServer host({upload("/count", 0, [&](Request& request) {
        try {
            return count_body(request);
        } catch (const Error& error) {
            if (error.code() == Code::cancelled) told.open();
            throw;
        }
    })});
    auto client = host.client();
    client.send(put("/count", "Content-Length: 3\r\n") + "a");
    client.close();
    CHECK(told.wait());
}

TEST_CASE("a handler can take the connection over") {
    const TestServer host({streaming("/up", [](Request&) {
        return upgrade("echo", {{"X-Extra", "1"}}, [](Poco::Net::StreamSocket& socket, std::string leftover) {
            socket.sendBytes(leftover.data(), static_cast<int>(leftover.size()));
            char buffer[16];
            const int got = socket.receiveBytes(buffer, sizeof buffer);
            socket.sendBytes(buffer, got);
        });
    })});
    auto client = host.client();
    client.send(get("/up", "Upgrade: echo\r\nConnection: Upgrade\r\n") + "early ");
    const auto answer = client.read(true);
    CHECK(answer.status == 101);
    CHECK(answer.header("Connection") == "Upgrade");
    CHECK(answer.header("Upgrade") == "echo");
    client.send("late");
    CHECK(client.take(10) == "early late");
    CHECK(client.at_end());
}
