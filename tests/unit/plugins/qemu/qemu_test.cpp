#include "plugins/qemu/qemu.hpp"

#include "tests/unit/plugins/qemu/guest_double.hpp"

#include <catch2/catch.hpp>

#include <algorithm>

using namespace minions;
using minions::qemu::Config;
using minions::qemu::Qemu;
using minions::test::code_thrown;
using Guest = minions::test::GuestDouble::Guest;
using namespace std::chrono_literals;
using minions::vmkit::Machine;

namespace {

Config config(vmkit::UseKvm kvm = vmkit::UseKvm::no) {
    Config made;
    made.binary = "/bin/sh";  // any program: it is not run here
    made.vm.kvm = kvm;
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
    CHECK(has(spec, "3,maxcpus=3"));
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

    const auto accelerated = Qemu(config(vmkit::UseKvm::yes)).process(guest);
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
}

TEST_CASE("what QEMU is told of the room that a machine has to grow") {
    const Qemu qemu(config());
    Machine guest = machine();
    guest.start_memory_mb = 700;
    guest.most_cpus = 12;
    guest.most_memory_mb = 2800;
    auto spec = qemu.process(guest);
    CHECK(has(spec, "3,maxcpus=12"));
    CHECK(has(spec, "700M,maxmem=2800M"));
    CHECK(has(spec, "memory-backend-ram,id=more,size=2100M,reserve=off"));
    CHECK(has(spec, "virtio-mem-pci,id=more-memory,memdev=more,block-size=4M"));
    CHECK(has(spec,
              "root=/dev/vda console=ttyS0 memhp_default_state=online "
              "memory_hotplug.online_policy=auto-movable swiotlb=noforce"));
    // What it has come to have: its snapshots go on with the CPUs as they are and the devices as they were.
    guest.cpus = 12;
    guest.memory_mb = 2800;
    guest.saved = "/snapshots/one/memory";
    spec = qemu.process(guest);
    CHECK(has(spec, "12,maxcpus=12"));
    CHECK(has(spec, "virtio-blk-pci,drive=root,num-queues=4"));
    CHECK(has(spec, "700M,maxmem=2800M"));
    guest.most_memory_mb = 700;
    spec = qemu.process(guest);
    CHECK(has(spec, "700M"));
    CHECK_FALSE(has(spec, "-object"));
}

namespace {

/// A machine that runs: 2 CPUs and 512 MiB, with room for 4 and 2048.
class Running {
  public:
    explicit Running(Guest guest = Guest::willing) : qemu(config(), 300ms), peer(scratch_.path + "/qmp") {
        machine.name = "guest";
        machine.cpus = 2;
        machine.most_cpus = 4;
        machine.memory_mb = machine.start_memory_mb = 512;
        machine.most_memory_mb = 2048;
        machine.run_directory = scratch_.path;
        peer.state.lock()->guest = guest;
    }
    /// What is thrown, as `code: message`; "" if nothing is.
    std::string resize(const ResizeSpec& spec) {
        try {
            qemu.resize(ctx, machine, spec);
        } catch (const Error& error) {
            return fmt::format("{}: {}", to_word(error.code()), error.message());
        }
        return "";
    }
    std::int64_t more_mb() { return peer.state.lock()->more_bytes >> 20; }
    int cpus() { return peer.state.lock()->cpus; }

  private:
    test::Scratch scratch_;

  public:
    Qemu qemu;
    Machine machine;
    test::TestContext ctx;
    test::GuestDouble peer;
};

bool within(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a running machine gets CPUs, memory and disk, and gives CPUs and memory back") {
    Running running;
    CHECK(running.resize({4, 1024, 3}).empty());
    CHECK(running.cpus() == 4);
    CHECK(running.more_mb() == 512);
    CHECK(running.peer.state.lock()->disk_bytes == std::int64_t{3} << 30);
    running.machine.cpus = 4;
    running.machine.memory_mb = 1024;
    CHECK(running.resize({1, 516, {}}).empty());
    CHECK(running.cpus() == 1);
    CHECK(running.more_mb() == 4);
    running.machine.cpus = 1;
    running.machine.memory_mb = 516;
    CHECK(running.resize({1, 512, {}}).empty());
    CHECK(running.more_mb() == 0);
}

TEST_CASE("what no guest can have is refused before anything is changed") {
    Running running;
    CHECK(within(running.resize({5, {}, {}}), "invalid: field 'cpus'"));
    CHECK(within(running.resize({5, {}, {}}), "room for 4"));
    CHECK(within(running.resize({4, 2052, {}}), "room for 2048"));
    CHECK(within(running.resize({{}, 508, {}}), "started with 512 and cannot have less"));
    CHECK(within(running.resize({{}, 514, {}}), "in steps of 4"));
    running.machine.most_memory_mb = 512;
    CHECK(within(running.resize({{}, 1024, {}}), "field 'memory_mb'"));
    CHECK(running.peer.state.lock()->commands.empty());
}

TEST_CASE("a guest that does not go along keeps the size that it had") {
    SECTION("it does not take a CPU") {
        Running running(Guest::deaf_once);  // and gives it back when it is asked to
        CHECK(within(running.resize({3, {}, {}}), "failed: the guest does not take CPU 2 within 300 ms"));
        CHECK(running.cpus() == 2);
    }
    SECTION("it does not give a CPU back") {
        Running running(Guest::deaf_once);
        const std::string said = running.resize({1, {}, {}});
        CHECK(within(said, "failed: the guest does not give back CPU 1"));
        CHECK_FALSE(within(said, "now"));
        CHECK(running.cpus() == 2);
    }
    SECTION("it says that it cannot give a CPU back") {
        Running running(Guest::unable);
        CHECK(within(running.resize({1, {}, {}}), "the guest does not give back CPU 1: ACPI status 0x1"));
        CHECK(running.cpus() == 2);
    }
    SECTION("it takes CPUs but no memory") {
        Running running(Guest::deaf_once);
        CHECK(within(running.resize({{}, 1024, 5}), "it has stayed at 0 for 300 ms"));
        CHECK(running.more_mb() == 0);
        CHECK(running.peer.state.lock()->disk_bytes == 0);  // the last thing, which cannot be undone
    }
}

TEST_CASE("what cannot be undone is told") {
    Running running(Guest::unable);
    const std::string said = running.resize({3, {}, {}});
    CHECK(within(said, "the guest does not take CPU 2: ACPI status 0x1"));
    CHECK(within(said, "the VM has 3 CPUs and 512 MiB now"));
    // What is there counts, and not what was believed.
    running.peer.state.lock()->guest = Guest::willing;
    CHECK(running.resize({2, {}, {}}).empty());
    CHECK(running.cpus() == 2);
}

TEST_CASE("a CPU that is emulated is not taken away") {
    Running running;
    running.peer.state.lock()->kvm = false;
    CHECK(within(running.resize({1, 1024, {}}), "invalid: field 'cpus' of a running VM"));
    CHECK(running.more_mb() == 0);
    CHECK(running.resize({4, {}, {}}).empty());
    // Neither to undo that it came; what can be undone is.
    running.machine.cpus = 4;
    running.peer.state.lock()->most_cpus = running.machine.most_cpus = 8;
    running.peer.state.lock()->guest = Guest::no_cpus;
    CHECK(within(running.resize({5, 1024, {}}), "CPU 4: ACPI status 0x1; the VM has 5 CPUs and 512 MiB now"));
}

TEST_CASE("a resize that is cancelled is undone") {
    Running running(Guest::deaf_once);
    running.ctx.cancel();
    CHECK(within(running.resize({3, 1024, {}}), "cancelled: "));
    CHECK(running.cpus() == 2);
}

TEST_CASE("a machine with other CPUs than it is believed to have is not saved") {
    Running running;
    running.machine.cpus = 3;
    test::Scratch scratch;
    CHECK(code_thrown([&] { running.qemu.save(running.ctx, running.machine, scratch.path); }) == "conflict");
    CHECK(running.peer.state.lock()->commands.back() == "query-hotpluggable-cpus");
}
