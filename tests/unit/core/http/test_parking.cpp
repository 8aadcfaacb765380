#include "tests/unit/core/http/harness.hpp"

#include <catch2/catch.hpp>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace minions;
using namespace minions::core;
using namespace minions::core::http;

namespace {

/// What holds a thread that is about to arm a descriptor for input: until some descriptor is taken out of the
/// epoll set, or for a moment where none is.
struct Hold {
    Gate reached;
    Gate removed;
};
Hold* hold = nullptr;
thread_local bool hold_this_thread = false;

}  // namespace

// In place of libc's: decides what happens while a connection is being parked.
extern "C" int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
    if (hold_this_thread && operation == EPOLL_CTL_MOD && (event->events & EPOLLIN) != 0) {
        hold_this_thread = false;
        hold->reached.open();
        hold->removed.wait_for(300ms);
    }
    const auto result = static_cast<int>(::syscall(SYS_epoll_ctl, epoll, operation, fd, event));
    if (hold != nullptr && operation == EPOLL_CTL_DEL) hold->removed.open();
    return result;
}

TEST_CASE("a client that closes while its connection is being parked harms nobody") {
    Hold parking;
    hold = &parking;
    {
        const TestServer host({waiting("/wait",
                                       [](Request&) {
                                           hold_this_thread = true;
                                           return text(200, "waited");
                                       }),
                               quick("GET", "/x", [](Request&) { return text(200, "ok"); })});
        auto client = host.client();
        client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(client.read().body == "waited");
        REQUIRE(parking.reached.wait());
        client.close();  // a worker hears of it while the lane's thread is held
        CHECK(host.client().ask("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").status == 200);
        CHECK(parking.removed.wait());
    }
    hold = nullptr;
}
