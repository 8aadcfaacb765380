#include "core/deployments/key_file.hpp"

#include "tests/unit/core/deployments/support.hpp"

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;

TEST_CASE("a key is read by its path in the key directory or its whole path") {
    const Directory directory;
    write(directory / "keys/deploy", "the key", 0600);
    write(directory / "keys/team/deploy", "another", 0400);
    CHECK(read_key("deploy", directory / "keys").text() == "the key");
    CHECK(read_key("team/deploy", directory / "keys").text() == "another");
    CHECK(read_key((directory / "keys/deploy").string(), directory / "keys").text() == "the key");
}

TEST_CASE("what is no safe key file in the key directory is refused") {
    const Directory directory;
    const auto keys = directory / "keys";
    write(directory / "outside/key", "key", 0600);
    write(keys / "good", "key", 0600);
    write(keys / "readable", "key", 0640);
    write(keys / "world", "key", 0604);
    write(keys / "big", std::string(17 << 10, 'x'), 0600);
    write(keys / "empty", "", 0600);
    std::filesystem::create_directories(keys / "dir");
    std::filesystem::create_symlink(directory / "outside/key", keys / "link");
    std::filesystem::create_symlink("good", keys / "inner-link");
    std::filesystem::create_symlink(directory / "outside", keys / "linked-dir");
    REQUIRE(::mkfifo((keys / "fifo").c_str(), 0600) == 0);
    if (::geteuid() == 0) {
        write(keys / "foreign", "key", 0600);
        REQUIRE(::chown((keys / "foreign").c_str(), 65534, 65534) == 0);
    }
    const auto name =
        GENERATE(as<std::string>(), "link", "inner-link", "linked-dir/key", "dir", "readable", "world", "big",
                 "empty", "fifo", "absent", "foreign", "../outside/key", "dir/../good", "good;touch x",
                 "good\n", std::string("good\0", 5), "", "/etc/shadow", "/dev/zero", "-i", "/", ".");
    CAPTURE(name);
    const Error error = error_of([&] { read_key(name, keys); });
    CHECK(error.code() == Code::invalid);
    CHECK(error.message().find("ssh_key_path") != std::string::npos);
}

TEST_CASE("without a key directory no key can be used") {
    CHECK(error_of([] { read_key("deploy", ""); }).message().find("ssh_key_path") != std::string::npos);
}
