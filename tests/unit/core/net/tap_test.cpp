#include "core/net/links.hpp"
#include "tests/unit/core/net/support.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <atomic>

namespace minions::core {
namespace {

/// As a VMM does. 0, or what errno said.
int open_tap(const std::string& name) {
    const Fd tap(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    return tap && ::ioctl(tap.get(), TUNSETIFF, &request) == 0 ? 0 : errno;
}

/// Threads that start programs until it is destroyed.
class Spawners {
  public:
    Spawners() {
        for (int i = 0; i < 3; ++i)
            threads_.emplace_back([this] {
                while (!over_) command("true");
            });
    }
    ~Spawners() {
        over_ = true;
        for (auto& thread : threads_) thread.join();
    }
    Spawners(const Spawners&) = delete;
    Spawners& operator=(const Spawners&) = delete;

  private:
    std::atomic<bool> over_ = false;
    std::vector<std::thread> threads_;
};

TEST_CASE("a TAP can be opened as soon as it is made, whatever programs are started meanwhile") {
    Namespace().run([] {
        const Spawners spawners;
        Links links;
        for (int i = 0; i < 400; ++i) {
            const std::string name = fmt::format("mntap{}", i);
            links.make_tap(name, 4242);
            REQUIRE(open_tap(name) == 0);
            links.remove(name);
        }
    });
}

}  // namespace
}  // namespace minions::core
