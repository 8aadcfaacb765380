#include <minions/base/fd.hpp>
#include <minions/base/id.hpp>
#include <minions/base/time.hpp>
#include <minions/base/unix_address.hpp>

#include <catch2/catch.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <set>
#include <stdexcept>

using namespace minions;
using namespace std::chrono_literals;

TEST_CASE("ids are 12 characters of base32 and differ") {
    std::set<std::string> ids;
    for (int i = 0; i < 1000; ++i) {
        const std::string id = make_id();
        CHECK(is_id(id));
        ids.insert(id);
    }
    CHECK(ids.size() == 1000);
    CHECK(is_id("abcdefgh2347"));
    CHECK_FALSE(is_id("abcdefgh234"));
    CHECK_FALSE(is_id("abcdefgh23456"));
    CHECK_FALSE(is_id("Abcdefgh2347"));
    CHECK_FALSE(is_id("abcdefgh2318"));
    CHECK_FALSE(is_id("abcdefgh/../"));
    CHECK(hex(std::string("\x00\xff\x1a", 3)) == "00ff1a");
}

TEST_CASE("times are written in UTC") {
    const Time time{1'771'408'800s + 123'456'789ns};
    CHECK(format_time(time) == "2026-02-18T10:00:00Z");
    CHECK(format_time_ms(time) == "2026-02-18T10:00:00.123Z");
    CHECK(format_time_ms(Time{-1ms}) == "1969-12-31T23:59:59.999Z");
    CHECK(format_time(Time{951'782'399s}) == "2000-02-28T23:59:59Z");
}

TEST_CASE("times are read with fractions and offsets") {
    const Time time{1'771'408'800s};
    CHECK(parse_time("2026-02-18T10:00:00Z") == time);
    CHECK(parse_time("2026-02-18T10:00:00.123456789Z") == time + 123'456'789ns);
    CHECK(parse_time("2026-02-18T10:00:00.5Z") == time + 500ms);
    CHECK(parse_time("2026-02-18T10:00:00.1234567891Z") == time + 123'456'789ns);
    CHECK(parse_time("2026-02-18T12:30:00+02:30") == time);
    CHECK(parse_time("2026-02-18T02:00:00.000-08:00") == time);
}

TEST_CASE("what is no time is not read") {
    for (const char* text :
         {"", "2026-02-18", "2026-02-18T10:00:00", "2026-02-30T10:00:00Z", "2026-13-01T10:00:00Z",
          "2026-02-18T24:00:00Z", "2026-02-18T10:60:00Z", "2026-02-18T10:00:00.Z", "2026-02-18T10:00:00Zx",
          "2026-02-18T10:00:00+2:00", "2026-02-18T10:00:00+24:00", "0001-01-01T00:00:00Z",
          "9999-01-01T00:00:00Z", "2026-2-18T10:00:00Z", " 2026-02-18T10:00:00Z"}) {
        INFO(text);
        CHECK_FALSE(parse_time(text));
    }
}

TEST_CASE("the path of a Unix socket fits, or is refused") {
    char directory[] = "/tmp/minions-address-XXXXXX";
    REQUIRE(::mkdtemp(directory) != nullptr);
    std::string path = std::string(directory) + "/";
    path.resize(UnixAddress::longest, 's');
    const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(UnixAddress(path).bind(listener.get()) == 0);
    CHECK(::access(path.c_str(), F_OK) == 0);
    const Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(UnixAddress(path).connect(client.get()) == -1);
    CHECK(errno == ECONNREFUSED);
    REQUIRE(::listen(listener.get(), 1) == 0);
    CHECK(UnixAddress(path).connect(client.get()) == 0);
    CHECK(::unlink(path.c_str()) == 0);
    CHECK(::rmdir(directory) == 0);
    for (const std::string& refused : {path + "s", std::string(), std::string("a\0b", 3)})
        CHECK_THROWS_AS(UnixAddress(refused), std::invalid_argument);
}
