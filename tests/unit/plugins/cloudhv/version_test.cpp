#include "plugins/cloudhv/version.hpp"

#include <catch2/catch.hpp>

using namespace minions::cloudhv;

namespace {

std::string read(const char* output) {
    const auto version = parse_version(output);
    return version ? std::to_string(version->major) + "." + std::to_string(version->minor) : "none";
}

bool refused(const char* output) { return !why_too_old(parse_version(output).value()).empty(); }

}  // namespace

TEST_CASE("versions are read however they were built") {
    CHECK(read("cloud-hypervisor v50.1\n") == "50.1");
    CHECK(read("cloud-hypervisor v50.1.0") == "50.1");
    CHECK(read("cloud-hypervisor 51.0.0") == "51.0");
    CHECK(read("cloud-hypervisor v53.0-246-gae44c2971\nMigration Protocol Versions: 1\n") == "53.0");
    CHECK(read("cloud-hypervisor v54") == "54.0");
    CHECK(read("cloud-hypervisor v51.1-dirty-extra") == "51.1");
    CHECK(parse_version("cloud-hypervisor v53.0-246-gae44c2971")->text == "v53.0-246-gae44c2971");
}

TEST_CASE("what another program prints is no version") {
    CHECK(read("QEMU emulator version 7.2.0") == "none");
    CHECK(read("cloud-hypervisor vX") == "none");
    CHECK(read("cloud-hypervisor -3") == "none");
    CHECK(read("cloud-hypervisor") == "none");
    CHECK(read("") == "none");
}

TEST_CASE("versions that guess the formats of disks are refused") {
    CHECK(refused("cloud-hypervisor v50.0"));
    CHECK(refused("cloud-hypervisor v50.0.1"));
    CHECK(refused("cloud-hypervisor v9.9"));
    CHECK_FALSE(refused("cloud-hypervisor v50.1"));
    CHECK_FALSE(refused("cloud-hypervisor v50.10"));
    CHECK_FALSE(refused("cloud-hypervisor v51.0"));
    CHECK(why_too_old(*parse_version("cloud-hypervisor v49.0")).find("GHSA-jmr4-g2hv-mjj6") !=
          std::string::npos);
}
