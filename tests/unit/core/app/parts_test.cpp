#include "core/app/gate.hpp"
#include "core/app/health_watch.hpp"
#include "core/app/paths.hpp"
#include "core/app/settings.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/error.hpp>

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include <cstdlib>

using namespace minions;
using namespace minions::core;
using Catch::Contains;

namespace {
Config config_of(std::vector<std::pair<std::string, std::string>> set = {}) {
    return Config({"", false, std::move(set)});
}
}  // namespace

TEST_CASE("every part gets its options from keys that exist") {
    const auto config = config_of({{"access.trusted", "100.64.0.0/10=manage"},
                                   {"http.workers", "3"},
                                   {"deployments.clone_timeout_seconds", "1m"}});
    CHECK(settings::access(config).trusted.size() == 1);
    CHECK(settings::http_limits(config).workers == 3);
    CHECK(settings::operations(config).threads == 64);
    CHECK(settings::instances(config).create_timeout == std::chrono::minutes(5));
    Paths paths;
    paths.shim = "/shim";
    CHECK(settings::processes(config, paths).shim == "/shim");
    CHECK(settings::processes(config, paths).uid_first == 1'900'000'000);
    CHECK(settings::processes(config, paths).output_bytes == std::size_t{1} << 20U);
    CHECK(settings::deployments(config).clone_timeout == std::chrono::minutes(1));
    CHECK(settings::deployments(config).allowed_schemes == std::vector<std::string>{"https", "ssh"});
}

TEST_CASE("the socket is in the run directory unless it is named") {
    CHECK(paths_of(config_of({{"run_dir", "/r"}})).socket == "/r/minions.sock");
    CHECK(paths_of(config_of({{"server.socket", "/x/y.sock"}})).socket == "/x/y.sock");
    CHECK(paths_of(config_of({{"server.socket", ""}})).socket.empty());
    CHECK(paths_of(config_of({{"plugin_dirs", "/p, /q"}})).plugins.size() == 3);
}

TEST_CASE("paths that sockets would not fit into are refused") {
    CHECK_THROWS_WITH(paths_of(config_of({{"run_dir", "/" + std::string(62, 'r')}})),
                      Contains("'run_dir' is longer"));
    CHECK_THROWS_WITH(paths_of(config_of({{"server.socket", "/" + std::string(107, 's')}})),
                      Contains("'server.socket' is longer"));
    CHECK_THROWS_WITH(paths_of(config_of({{"state_dir", ""}})),
                      Contains("'state_dir' must name a directory"));
}

TEST_CASE("the shim is found beside the program, as in a build tree") {
    const auto shim = paths_of(config_of({})).shim;
    CHECK(shim.is_absolute());
    CHECK(std::filesystem::exists(shim));
}

TEST_CASE("run directories are made for everybody to enter") {
    char name[] = "/tmp/minions-paths-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    const std::string root = name;
    make_run_directories(paths_of(config_of({{"run_dir", root + "/a/b"}})));
    struct stat status {};
    REQUIRE(::stat((root + "/a/b").c_str(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0755);
    CHECK_THROWS_WITH(make_run_directories(paths_of(config_of({{"run_dir", "/proc/nothing"}}))),
                      Contains("'run_dir'"));
    std::filesystem::remove_all(root);
}

TEST_CASE("health is asked for at the start and when it has changed") {
    EventFd first;
    EventFd second;
    std::atomic<int> count{0};
    HealthWatch watch([&] { (++count == 1 ? first : second).raise(); }, std::chrono::hours(1));
    const auto soon = [] { return deadline_in(std::chrono::seconds(30)); };
    REQUIRE(first.wait(soon()));
    watch.wake();
    REQUIRE(second.wait(soon()));
    CHECK(count >= 2);
}

TEST_CASE("health is asked for again by itself") {
    EventFd again;
    std::atomic<int> count{0};
    HealthWatch watch(
        [&] {
            if (++count == 3) again.raise();
        },
        std::chrono::milliseconds(1));
    CHECK(again.wait(deadline_in(std::chrono::seconds(30))));
}

TEST_CASE("a gate that closes waits for those inside and lets nobody else in") {
    Gate gate;
    int passed = 0;
    gate.pass([&] { ++passed; });
    CHECK(passed == 0);
    gate.open();
    EventFd inside;
    EventFd go_on;
    std::atomic<bool> closed{false};
    bool closed_before = true;
    std::thread plugin([&] {
        gate.pass([&] {
            inside.raise();
            go_on.wait(deadline_in(std::chrono::seconds(30)));
            closed_before = closed;
        });
    });
    REQUIRE(inside.wait(deadline_in(std::chrono::seconds(30))));
    std::thread closing([&] {
        gate.close();
        closed = true;
    });
    // Closed to newcomers before those inside have left.
    for (int last = -1; last != passed;) {
        last = passed;
        gate.pass([&] { ++passed; });
    }
    go_on.raise();
    plugin.join();
    CHECK_FALSE(closed_before);
    closing.join();
    CHECK(closed);
}
