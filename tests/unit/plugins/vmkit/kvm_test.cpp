#include "plugins/vmkit/kvm.hpp"

#include "tests/unit/plugins/vmkit/vm_world.hpp"

#include <minions/base/files.hpp>

#include <catch2/catch.hpp>

using minions::write_file_atomic;
using minions::test::Scratch;
using minions::vmkit::kvm_state;
using minions::vmkit::UseKvm;

TEST_CASE("KVM counts as usable only with a device that opens and a CPU that virtualises") {
    const Scratch scratch;
    const std::string device = scratch.path + "/kvm";
    const std::string cpus = scratch.path + "/cpuinfo";
    write_file_atomic(cpus, "processor\t: 0\nflags\t\t: fpu svm vme\n\nprocessor\t: 1\nflags\t\t: fpu\n",
                      0644);
    CHECK(kvm_state(device, cpus).reason.find("there is no") != std::string::npos);
    write_file_atomic(device, "", 0600);
    CHECK(kvm_state(device, cpus).usable);
    write_file_atomic(cpus, "flags\t\t: fpu vmx\n", 0644);
    CHECK(kvm_state(device, cpus).usable);
    // Part of another word, or of another line.
    write_file_atomic(cpus, "model name\t: vmx\nflags\t\t: fpu vmxx hypervisor\n", 0644);
    CHECK_FALSE(kvm_state(device, cpus).usable);
    CHECK(kvm_state(device, cpus).reason.find("neither vmx nor svm") != std::string::npos);
}

TEST_CASE("a runtime's setting counts more than what the host shows") {
    CHECK(kvm_state(UseKvm::yes, "qemu").usable);
    CHECK_FALSE(kvm_state(UseKvm::no, "qemu").usable);
    CHECK(kvm_state(UseKvm::no, "qemu").reason == "runtimes.qemu.kvm is no");
    CHECK(kvm_state(UseKvm::automatic, "qemu").usable == kvm_state().usable);
}
