#include "cli/arguments.hpp"

#include "cli/address.hpp"
#include "cli/output.hpp"

#include <minions/error.hpp>

#include <catch2/catch.hpp>

using namespace minions;
using namespace minions::cli;

TEST_CASE("addresses of daemons") {
    CHECK(parse_address("http://host:81").host == "host");
    CHECK(parse_address("http://host:81/").port == 81);
    CHECK(parse_address("host").port == 3000);
    CHECK(parse_address("http://[::1]:82").host == "::1");
    CHECK(parse_address("http://[::1]:82").port == 82);
    CHECK(parse_address("[::1]").port == 3000);
    CHECK(parse_address("unix:/run/x").unix_path == "/run/x");
    CHECK(parse_address("unix:///run/x").unix_path == "/run/x");
    CHECK(parse_address("/run/x").unix_path == "/run/x");
    for (const auto* bad :
         {"", "http://", "https://h", "h:0", "h:70000", "h:x", "[::1", "[::1]x", "u@h", "h/path"}) {
        CAPTURE(bad);
        CHECK_THROWS_AS(parse_address(bad), Error);
    }
}

TEST_CASE("published ports") {
    CHECK(published_port("80") == Value::object({{"port", 80}}));
    CHECK(published_port("8080:80/tcp") ==
          Value::object({{"protocol", "tcp"}, {"port", 80}, {"host_port", 8080}}));
    CHECK(published_port("[::1]:8080:80") ==
          Value::object({{"port", 80}, {"host_port", 8080}, {"address", "::1"}}));
    for (const auto* bad : {"", "x", "70000", "1:", ":1", "80/sctp", "a:b"}) {
        CAPTURE(bad);
        CHECK_THROWS_AS(published_port(bad), Error);
    }
}

TEST_CASE("times") {
    CHECK(seconds_of("90", "--x") == 90);
    CHECK(seconds_of("15m", "--x") == 900);
    CHECK(seconds_of("2d", "--x") == 172800);
    for (const auto* bad : {"", "d", "-1", "1w", "1.5h", "99999999999999999d"}) {
        CAPTURE(bad);
        CHECK_THROWS_AS(seconds_of(bad, "--x"), Error);
    }
}

TEST_CASE("bytes become base64") {
    CHECK(encode_base64("").empty());
    CHECK(encode_base64("a") == "YQ==");
    CHECK(encode_base64("ab") == "YWI=");
    CHECK(encode_base64(std::string("\0\xff\n", 3)) == "AP8K");
    CHECK(encode_base64(std::string(300, '\0')) == std::string(400, 'A'));
}
