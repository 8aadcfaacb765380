#include "agent/src/root.hpp"

#include <catch2/catch.hpp>

using minions::agent::parse_root;

TEST_CASE("the root is what the kernel's command line says") {
    const auto root =
        parse_root("console=ttyS0 root=/dev/vda rootfstype=xfs rw minions.init=/sbin/init quiet\n");
    REQUIRE(root);
    CHECK(root->device == "/dev/vda");
    CHECK(root->type == "xfs");
    CHECK(root->init == "/sbin/init");
}

TEST_CASE("without further words the root is ext4, and the agent stays init") {
    const auto root = parse_root("root=/dev/vdb1");
    REQUIRE(root);
    CHECK(root->device == "/dev/vdb1");
    CHECK(root->type == "ext4");
    CHECK(root->init.empty());
}

TEST_CASE("of a word that stands twice the last counts") {
    const auto root = parse_root("root=/dev/vda minions.init=/sbin/init  root=/dev/vdb minions.init=");
    REQUIRE(root);
    CHECK(root->device == "/dev/vdb");
    CHECK(root->init.empty());
}

TEST_CASE("no root, no disk") {
    CHECK_FALSE(parse_root(""));
    CHECK_FALSE(parse_root("console=ttyS0 quiet\n"));
    CHECK_FALSE(parse_root("nfsroot=/dev/vda myroot=/dev/vda root="));
}
