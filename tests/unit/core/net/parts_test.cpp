#include "core/net/options.hpp"
#include "core/net/resolvers.hpp"
#include "core/net/subnet.hpp"
#include "tests/unit/core/store/temporary_directory.hpp"

#include <minions/error.hpp>

#include <catch2/catch.hpp>

#include <fstream>
#include <set>

namespace minions::core {
namespace {

TEST_CASE("a subnet is given by its gateway") {
    const Subnet subnet = parse_subnet("10.0.0.1/16");
    CHECK(subnet.text() == "10.0.0.1/16");
    CHECK(subnet.network_text() == "10.0.0.0/16");
    CHECK(address_text(subnet.broadcast()) == "10.0.255.255");
    for (const char* bad : {"", "10.0.0.1", "10.0.0.1/", "10.0.0.1/7", "10.0.0.1/31", "10.0.0.1/1x",
                            "10.0.0/16", "10.0.0.0/16", "10.0.255.255/16", "fd00::1/16", "10.0.0.1/16 "})
        CHECK_THROWS_AS(parse_subnet(bad), Error);
}

TEST_CASE("networks overlap where one holds the other") {
    const Subnet subnet = parse_subnet("10.0.0.1/16");
    CHECK(subnet.overlaps({0x0a000000, 8}));
    CHECK(subnet.overlaps({0x0a000500, 24}));
    CHECK(subnet.overlaps({0, 0}));
    CHECK_FALSE(subnet.overlaps({0x0a010000, 16}));
    CHECK_FALSE(subnet.overlaps({0xc0a80000, 16}));
}

TEST_CASE("every slot has an address and a MAC of its own, the same for ever") {
    const GuestAddresses first(parse_subnet("10.0.0.1/16"), "aaaaaaaaaaaa");
    CHECK(address_text(first.address(0)) == "10.0.0.2");
    CHECK(address_text(first.address(253)) == "10.0.0.255");
    CHECK(first.count() == 65533);
    CHECK(address_text(first.address(first.count() - 1)) == "10.0.255.254");
    CHECK(first.mac(0) == GuestAddresses(parse_subnet("10.0.0.1/16"), "aaaaaaaaaaaa").mac(0));
    CHECK(first.mac(0) != GuestAddresses(parse_subnet("10.0.0.1/16"), "aaaaaaaaaaab").mac(0));
    CHECK(first.mac(0).substr(0, 3) == "02:");

    const GuestAddresses middle(parse_subnet("192.168.7.100/28"), "aaaaaaaaaaaa");
    std::set<std::uint32_t> addresses;
    std::set<std::string> macs{middle.bridge_mac()};
    for (std::int64_t slot = 0; slot < middle.count(); ++slot) {
        addresses.insert(middle.address(slot));
        macs.insert(middle.mac(slot));
    }
    CHECK(addresses.size() == 13);
    CHECK(macs.size() == 14);
    CHECK(addresses.count(middle.gateway().address) == 0);
    CHECK(*addresses.begin() == middle.gateway().network() + 1);
    CHECK(*addresses.rbegin() == middle.gateway().broadcast() - 1);
}

TEST_CASE("guests ask the name servers that the host's own resolver asks") {
    const TemporaryDirectory directory;
    const auto file = [&](const char* name, const char* text) {
        std::ofstream(directory.path() / name) << text;
        return (directory.path() / name).string();
    };
    const auto stub = file("stub", "nameserver 127.0.0.53\noptions edns0\n");
    const auto real = file(
        "real", "# by dhcp\nnameserver 192.0.2.7\nnameserver fd00::1\nsearch a b\nnameserver 192.0.2.8\n");
    CHECK(resolvers_of({stub, real}) == std::vector<std::string>{"192.0.2.7", "192.0.2.8"});
    CHECK(resolvers_of({real, stub}) == std::vector<std::string>{"192.0.2.7", "192.0.2.8"});
    CHECK(resolvers_of({stub}).empty());
    CHECK(resolvers_of({"/does/not/exist"}).empty());
}

TEST_CASE("a bridge has a name that a device can have, and that no TAP has") {
    for (const char* good : {"", "br0", "minibr0", "virt-br_1.x", "a23456789012345"})
        CHECK_NOTHROW(check_bridge_name(good));
    for (const char* bad : {"a234567890123456", "a b", "a/b", "a\"b", "..", "mnbridge"})
        CHECK_THROWS_AS(check_bridge_name(bad), Error);
}

}  // namespace
}  // namespace minions::core
