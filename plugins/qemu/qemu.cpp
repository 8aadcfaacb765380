#include "plugins/qemu/qemu.hpp"

#include "plugins/qemu/qmp.hpp"
#include "plugins/vmkit/contexts.hpp"
#include "plugins/vmkit/disks.hpp"
#include "plugins/vmkit/kvm.hpp"
#include "plugins/vmkit/launch.hpp"

#include <minions/agent/protocol.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace minions::qemu {

using vmkit::Disk;
using vmkit::Machine;

namespace {

constexpr const char* vhost_vsock = "/dev/vhost-vsock";
constexpr const char* memory_file = "/memory";

std::string monitor_of(const Machine& machine) { return machine.run_directory + "/qmp"; }
std::string port_of(const Machine& machine) { return machine.run_directory + "/agent"; }

Fd open_tap(const std::string& device) {
    Fd tap(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq request{};
    device.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (!tap || ::ioctl(tap.get(), TUNSETIFF, &request) != 0)
        throw error_from_errno(errno, "cannot open the interface " + device);
    return tap;
}

/// A value inside of one of QEMU's option lists, where a comma separates.
std::string quoted(const std::string& value) {
    std::string out;
    for (const char c : value) out.append(c == ',' ? 2 : 1, c);
    return out;
}

void tell_of_migration(Qmp& qmp) {
    const Value events = Value::object({{"capability", "events"}, {"state", true}});
    qmp.run("migrate-set-capabilities", Value::object({{"capabilities", Value::array({events})}}));
}

void wait_for_migration(Qmp& qmp, const char* failure) {
    qmp.wait_for([&](const Value& event) {
        if (event["event"].string_or("") != "MIGRATION") return false;
        const std::string status = event["data"]["status"].string_or("");
        if (status == "failed") throw Error{Code::failed, failure, "see vmm.err in the instance's directory"};
        return status == "completed";
    });
}

}  // namespace

Qemu::Qemu(const Config& config) : config_(config), program_(vmkit::find_program(config.binary)) {
    if (config.kvm != "auto" && config.kvm != "yes" && config.kvm != "no")
        throw Error{Code::invalid, "runtimes.qemu.kvm must be auto, yes or no"};
}

std::string Qemu::why_emulated() const {
    if (config_.kvm == "yes") return "";
    if (config_.kvm == "no") return "runtimes.qemu.kvm is no";
    const auto state = vmkit::kvm_state();
    return state.usable ? "" : state.reason;
}

Health Qemu::health(Context& ctx) {
    Health health;
    const std::string program = vmkit::find_program(config_.binary);
    if (program.empty()) {
        health.reason = fmt::format(
            "there is no program '{}': install qemu-system-x86 or set runtimes.qemu.binary", config_.binary);
        return health;
    }
    const auto said = version_.ask(ctx, program);
    if (said.text.empty()) {
        health.reason = said.complaint + ": set runtimes.qemu.binary";
        return health;
    }
    constexpr std::string_view before = "version ";
    const auto at = said.text.find(before);
    if (at != std::string::npos) {
        const auto from = at + before.size();
        health.version = said.text.substr(from, said.text.find_first_of(" \n", from) - from);
    }
    health.healthy = true;
    const std::string emulated = why_emulated();
    health.reason = emulated.empty() ? "runs on KVM" : "emulates the CPU (TCG), which is slow: " + emulated;
    return health;
}

bool Qemu::offers_host_vsock() const { return ::access(vhost_vsock, R_OK | W_OK) == 0; }

ProcessSpec Qemu::process(const Machine& machine) const {
    if (program_.empty())
        throw Error{Code::unavailable, fmt::format("there is no program '{}'", config_.binary)};
    const bool emulated = !why_emulated().empty();
    int next = 3;  // of the descriptors that passed() makes, in the same order
    ProcessSpec spec;
    spec.role = "vmm";
    auto& argv = spec.argv;
    const auto add = [&](std::initializer_list<std::string> words) { argv.insert(argv.end(), words); };
    add({program_, "-nodefaults", "-no-user-config", "-display", "none", "-name", "guest=" + machine.name});
    add({"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"});
    add({"-machine", emulated ? "q35,accel=tcg" : "q35,accel=kvm", "-cpu", emulated ? "max" : "host"});
    add({"-smp", std::to_string(machine.cpus), "-m", fmt::format("{}M", machine.memory_mb)});
    add({"-kernel", machine.kernel, "-append", machine.command_line});
    if (!machine.initramfs.empty()) add({"-initrd", machine.initramfs});
    // Standard output is the serial console.
    add({"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"});
    add({"-chardev", fmt::format("socket,id=qmp,fd={},server=on,wait=off", next++), "-mon",
         "chardev=qmp,mode=control"});
    add({"-drive",
         fmt::format("if=none,id=root,file={},format={},discard=unmap", quoted(machine.disk.path),
                     word_of(machine.disk.format)),
         "-device", "virtio-blk-pci,drive=root"});
    add({"-device", "virtio-rng-pci"});
    if (machine.host_vsock) {
        add({"-device",
             fmt::format("vhost-vsock-pci,guest-cid={},vhostfd={}", *machine.network.vsock_cid, next++)});
    } else {
        add({"-chardev", fmt::format("socket,id=agent,fd={},server=on,wait=off", next++)});
        add({"-device", "virtio-serial-pci", "-device",
             fmt::format("virtserialport,chardev=agent,name={}", agent::serial_port_name)});
    }
    if (machine.network.device.empty()) {
        add({"-netdev", "user,id=net", "-device",
             "virtio-net-pci,netdev=net,mac=" + guest_network(machine).mac});
    } else {
        add({"-netdev", fmt::format("tap,id=net,fd={}", next++), "-device",
             fmt::format("virtio-net-pci,netdev=net,mac={},host_mtu={}", machine.network.mac,
                         machine.network.mtu)});
    }
    // The guest waits until boot() has met the monitor.
    add({"-S", "-action", "panic=exit-failure", "-device", "pvpanic"});
    if (machine.saved) add({"-incoming", "defer"});
    if (!emulated) spec.devices = {"/dev/kvm"};
    return spec;
}

std::vector<Fd> Qemu::passed(const Machine& machine) const {
    std::vector<Fd> fds;
    fds.push_back(vmkit::listen_on(monitor_of(machine)));
    if (machine.host_vsock) {
        fds.emplace_back(::open(vhost_vsock, O_RDWR | O_CLOEXEC));
        if (!fds.back()) throw error_from_errno(errno, std::string("cannot open ") + vhost_vsock);
    } else {
        fds.push_back(vmkit::listen_on(port_of(machine)));
    }
    if (!machine.network.device.empty()) fds.push_back(open_tap(machine.network.device));
    return fds;
}

NetworkAttachment Qemu::guest_network(const Machine& machine) const {
    if (!machine.network.device.empty()) return machine.network;
    // QEMU's own network, the same for every guest: it reaches out, and nobody reaches it.
    NetworkAttachment own;
    own.mac = "52:54:00:12:34:56";
    own.address = "10.0.2.15/24";
    own.gateway = "10.0.2.2";
    own.dns = {"10.0.2.3"};
    return own;
}

vmkit::AgentAddress Qemu::agent_address(const Machine& machine) const {
    if (machine.host_vsock)
        return {vmkit::AgentAddress::Kind::vsock, "", static_cast<unsigned>(*machine.network.vsock_cid)};
    return {vmkit::AgentAddress::Kind::serial, port_of(machine)};
}

void Qemu::boot(Context& ctx, const Machine& machine) {
    Qmp qmp(ctx, monitor_of(machine));
    if (machine.saved) {
        const Fd memory(::open((*machine.saved + memory_file).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
        if (!memory) throw error_from_errno(errno, "cannot open the snapshot's memory");
        tell_of_migration(qmp);
        qmp.run("getfd", Value::object({{"fdname", "memory"}}), memory.get());
        qmp.run("migrate-incoming", Value::object({{"uri", "fd:memory"}}));
        wait_for_migration(qmp, "QEMU cannot go on from the snapshot's memory");
    }
    qmp.run("cont");
}

void Qemu::pause(Context& ctx, const Machine& machine) { Qmp(ctx, monitor_of(machine)).run("stop"); }

void Qemu::resume(Context& ctx, const Machine& machine) { Qmp(ctx, monitor_of(machine)).run("cont"); }

bool Qemu::paused(Context& ctx, const Machine& machine) {
    return !Qmp(ctx, monitor_of(machine)).run("query-status")["running"].bool_or(true);
}

void Qemu::press_power_button(Context& ctx, const Machine& machine) {
    Qmp(ctx, monitor_of(machine)).run("system_powerdown");
}

void Qemu::resize(Context& ctx, const Machine& machine, const ResizeSpec& spec) {
    const auto refuse = [](const char* field) {
        throw Error{Code::invalid, fmt::format("field '{}' of a running VM cannot be changed by QEMU", field),
                    "stop it, resize it, and start it again"};
    };
    if (spec.cpus && *spec.cpus != machine.cpus) refuse("cpus");
    if (spec.memory_mb && *spec.memory_mb != machine.memory_mb) refuse("memory_mb");
    if (!spec.disk_gb) return;
    Qmp(ctx, monitor_of(machine))
        .run("block_resize",
             Value::object(
                 {{"device", "root"}, {"size", static_cast<std::int64_t>(*spec.disk_gb * vmkit::gib)}}));
}

void Qemu::save(Context& ctx, const Machine& machine, const std::string& directory) {
    const Fd memory(::open((directory + memory_file).c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!memory) throw error_from_errno(errno, "cannot write the memory");
    Qmp qmp(ctx, monitor_of(machine));
    tell_of_migration(qmp);
    // Nothing else wants the disk or the network meanwhile.
    qmp.run("migrate-set-parameters", Value::object({{"max-bandwidth", std::int64_t{1} << 40U}}));
    qmp.run("getfd", Value::object({{"fdname", "memory"}}), memory.get());
    qmp.run("migrate", Value::object({{"uri", "fd:memory"}}));
    try {
        wait_for_migration(qmp, "QEMU cannot write the memory");
    } catch (const Error&) {
        if (ctx.cancelled()) {
            vmkit::Alone soon(std::chrono::seconds(2));
            Qmp(soon, monitor_of(machine)).run("migrate_cancel");
        }
        throw;
    }
    if (::fsync(memory.get()) != 0) throw error_from_errno(errno, "cannot write the memory");
}

}  // namespace minions::qemu
