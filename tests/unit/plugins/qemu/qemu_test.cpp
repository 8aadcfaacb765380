#include "plugins/qemu/qemu.hpp"

#include "tests/unit/plugins/vmkit/vm_world.hpp"

#include <catch2/catch.hpp>

#include <algorithm>

using namespace minions;
using minions::qemu::Config;
using minions::qemu::Qemu;
using minions::test::code_thrown;
using minions::vmkit::Machine;

namespace {

Config config(const char* kvm = "no") {
    Config made;
    made.binary = "/bin/sh";  // any program: it is not run here
    made.kvm = kvm;
    return made;
}

Machine machine() {
    Machine made;
    made.name = "guest";
    made.cpus = 3;
    made.memory_mb = 700;
    made.disk = {"/vms/a,b/disk.qcow2", vmkit::Disk::Format::qcow2, true};
    made.kernel = "/images/kernel";
    made.initramfs = "/images/initramfs";
    made.command_line = "root=/dev/vda console=ttyS0";
    made.run_directory = "/run/x";
    return made;
}

bool has(const ProcessSpec& spec, const std::string& word) {
    return std::find(spec.argv.begin(), spec.argv.end(), word) != spec.argv.end();
}

}  // namespace

TEST_CASE("what QEMU is told of a machine") {
    const Qemu qemu(config());
    Machine guest = machine();
    auto spec = qemu.process(guest);
    CHECK(spec.role == "vmm");
    CHECK(has(spec, "3"));
    CHECK(has(spec, "700M"));
    CHECK(has(spec, "q35,accel=tcg"));
    // The format is stated, and a comma of a path stays one of the path.
    CHECK(has(spec, "if=none,id=root,file=/vms/a,,b/disk.qcow2,format=qcow2,discard=unmap"));
    CHECK(has(spec, "user,id=net"));
    CHECK(has(spec, "root=/dev/vda console=ttyS0"));
    CHECK_FALSE(has(spec, "-incoming"));
    CHECK(spec.devices.empty());
    CHECK(qemu.guest_network(guest).address == "10.0.2.15/24");
    CHECK(qemu.agent_address(guest).kind == vmkit::AgentAddress::Kind::serial);

    guest.network.device = "mnabc";
    guest.network.mac = "02:00:00:00:00:01";
    guest.network.address = "10.0.0.2/16";
    guest.network.vsock_cid = 7;
    guest.host_vsock = true;
    guest.saved = "/snapshots/one/memory";
    spec = qemu.process(guest);
    CHECK(has(spec, "tap,id=net,fd=5"));
    CHECK(has(spec, "vhost-vsock-pci,guest-cid=7,vhostfd=4"));
    CHECK(has(spec, "-incoming"));
    CHECK(qemu.guest_network(guest).address == "10.0.0.2/16");
    CHECK(qemu.agent_address(guest).cid == 7);

    const auto accelerated = Qemu(config("yes")).process(guest);
    CHECK(has(accelerated, "q35,accel=kvm"));
    CHECK(accelerated.devices == std::vector<std::string>{"/dev/kvm"});
}

TEST_CASE("a QEMU that is not there is told of with the cure") {
    Config absent = config();
    absent.binary = "no-such-qemu";
    Qemu qemu(absent);
    test::TestContext ctx;
    const Health health = qemu.health(ctx);
    CHECK_FALSE(health.healthy);
    CHECK(health.reason.find("runtimes.qemu.binary") != std::string::npos);
    CHECK(code_thrown([&] { qemu.process(machine()); }) == "unavailable");
    CHECK(code_thrown([] { Qemu wrong(config("maybe")); }) == "invalid");
}

TEST_CASE("a running machine's disk can grow, and what QEMU cannot change says so") {
    Qemu qemu(config());
    test::TestContext ctx;
    const auto resize = [&](const ResizeSpec& spec) {
        return code_thrown([&] { qemu.resize(ctx, machine(), spec); });
    };
    CHECK(resize({4, {}, {}}) == "invalid");
    CHECK(resize({{}, 900, {}}) == "invalid");
    CHECK(resize({3, 700, {}}).empty());  // what it has already
}
