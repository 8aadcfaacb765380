#include "plugins/qemu/qmp.hpp"

#include "plugins/vmkit/launch.hpp"
#include "tests/unit/plugins/vmkit/vm_world.hpp"

#include <minions/base/deadline.hpp>
#include <minions/error.hpp>

#include <catch2/catch.hpp>

#include <system_error>
#include <thread>

using namespace minions;
using namespace std::chrono_literals;
using minions::qemu::Qmp;
using minions::test::code_thrown;
using minions::test::Scratch;
using minions::test::TestContext;

namespace {

/// A monitor that says its lines in turn, one after each line that it reads, and keeps what it read.
class Monitor {
  public:
    explicit Monitor(std::vector<std::string> lines)
        : lines_(std::move(lines)), path(scratch_.path + "/qmp") {
        listener_ = vmkit::listen_on(path);
        thread_ = std::thread([this] {
            try {
                run();
            } catch (const std::system_error&) {  // who gives a call up has closed its end
            }
        });
    }
    ~Monitor() {
        ::shutdown(listener_.get(), SHUT_RDWR);
        thread_.join();
    }
    std::string heard() { return *heard_.lock(); }

  private:
    void run() {
        const Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!client) return;
        test::put(client.get(), "{\"QMP\": {}}\r\n");
        for (const auto& line : lines_) {
            std::string request;
            for (char c = 0; c != '\n' && ::read(client.get(), &c, 1) == 1;) request += c;
            *heard_.lock() += request;
            if (line.empty()) break;
            test::put(client.get(), line);
        }
        pollfd hung_up{client.get(), POLLRDHUP, 0};
        if (!lines_.back().empty()) poll_until(&hung_up, 1, no_deadline);
    }

    Scratch scratch_;
    std::vector<std::string> lines_;
    Fd listener_;
    Sync<std::string> heard_;
    std::thread thread_;

  public:
    const std::string path;
};

constexpr const char* done = "{\"return\": {}}\n";

}  // namespace

TEST_CASE("results, refusals and events of a monitor") {
    Monitor monitor(
        {done, "{\"event\": \"STOP\"}\n{\"return\": {\"running\": false}}\n",
         "{\"error\": {\"desc\": \"no such device\"}}\n",
         "{\"return\": {}}\n{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}\n"});
    TestContext ctx;
    Qmp qmp(ctx, monitor.path);
    CHECK_FALSE(qmp.run("query-status")["running"].bool_or(true));
    try {
        qmp.run("device_del");
        FAIL("it was refused");
    } catch (const Error& error) {
        CHECK(error.code() == Code::failed);
        CHECK(error.message().find("no such device") != std::string::npos);
    }
    qmp.run("migrate", Value::object({{"uri", "fd:x"}}));
    std::vector<std::string> seen;
    qmp.wait_for([&](const Value& event) {
        seen.push_back(event["event"].string_or(""));
        return seen.back() == "MIGRATION";
    });
    CHECK(seen == std::vector<std::string>{"STOP", "MIGRATION"});
    CHECK(monitor.heard().find(R"({"execute":"migrate","arguments":{"uri":"fd:x"}})") != std::string::npos);
}

TEST_CASE("a monitor that ends, hangs or was never there") {
    SECTION("ends") {
        Monitor monitor({done, ""});
        TestContext ctx;
        Qmp qmp(ctx, monitor.path);
        CHECK(code_thrown([&] { qmp.run("stop"); }) == "unavailable");
    }
    SECTION("hangs") {
        Monitor monitor({done, "{\"event\": \"NEVER_THE_ANSWER\"}\n"});
        TestContext ctx(200ms);
        Qmp qmp(ctx, monitor.path);
        CHECK(code_thrown([&] { qmp.run("stop"); }) == "deadline");
    }
    SECTION("the call is cancelled") {
        Monitor monitor({done, "{\"event\": \"NEVER_THE_ANSWER\"}\n"});
        TestContext ctx;
        Qmp qmp(ctx, monitor.path);
        std::thread later([&] { ctx.cancel(); });
        CHECK(code_thrown([&] { qmp.run("stop"); }) == "cancelled");
        later.join();
    }
    SECTION("absent") {
        TestContext ctx;
        CHECK(code_thrown([&] { Qmp qmp(ctx, "/nowhere/qmp"); }) == "unavailable");
    }
}
