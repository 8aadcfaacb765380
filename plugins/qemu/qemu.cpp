#include "plugins/qemu/qemu.hpp"

#include "plugins/qemu/hotplug.hpp"
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

#include <algorithm>
#include <cerrno>

namespace minions::qemu {

using vmkit::Disk;
using vmkit::Machine;

namespace {

constexpr const char* vhost_vsock = "/dev/vhost-vsock";
constexpr const char* memory_file = "/memory";
/// Not as many as there are CPUs, as QEMU would have it: that number changes, and a snapshot's devices must
/// not.
constexpr int disk_queues = 4;
/// How long a resize that failed may take to be undone, and the guest to move.
constexpr milliseconds undo_timeout = std::chrono::seconds(20);
constexpr milliseconds undo_patience = std::chrono::seconds(5);

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

/// What the kernel of a guest that can get more memory is to do: it makes use of that at once, in such a way
/// that it can be given back; and it keeps nothing back for devices that reach only the first 4 GiB, which
/// there are none of.
constexpr const char* more_memory_parameters =
    " memhp_default_state=online memory_hotplug.online_policy=auto-movable swiotlb=noforce";

void add_size(std::vector<std::string>& argv, const Machine& machine) {
    const auto add = [&](std::initializer_list<std::string> words) { argv.insert(argv.end(), words); };
    const std::int64_t more = more_memory_mb(machine);
    const std::int64_t at_start = machine.start_memory_mb > 0 ? machine.start_memory_mb : machine.memory_mb;
    // Present are always the first of the CPUs: a machine that goes on from a snapshot has the same ones.
    add({"-smp", fmt::format("{},maxcpus={}", machine.cpus, std::max(machine.cpus, machine.most_cpus))});
    if (more == 0) return add({"-m", fmt::format("{}M", at_start)});
    add({"-m", fmt::format("{}M,maxmem={}M", at_start, at_start + more)});
    add({"-object", fmt::format("memory-backend-ram,id=more,size={}M,reserve=off", more)});
    // How much of it there is, a snapshot's memory says.
    add({"-device",
         fmt::format("virtio-mem-pci,id={},memdev=more,block-size={}M", more_memory, memory_step_mb)});
}

/// Refuses what no guest can do, before anything is changed.
void check_size(const Machine& machine, const ResizeSpec& spec) {
    const int most_cpus = std::max(machine.cpus, machine.most_cpus);
    if (spec.cpus && *spec.cpus > most_cpus)
        refuse_size("cpus", fmt::format("it was started with room for {}", most_cpus));
    if (!spec.memory_mb || *spec.memory_mb == machine.memory_mb) return;
    const std::int64_t at_start = machine.start_memory_mb;
    const std::int64_t more = more_memory_mb(machine);
    if (more == 0) refuse_size("memory_mb", "it was started without room for more");
    if (*spec.memory_mb < at_start)
        refuse_size("memory_mb", fmt::format("it was started with {} and cannot have less", at_start));
    if (*spec.memory_mb > at_start + more)
        refuse_size("memory_mb", fmt::format("it was started with room for {}", at_start + more));
    if ((*spec.memory_mb - at_start) % memory_step_mb != 0)
        refuse_size("memory_mb", fmt::format("it changes from {} in steps of {}", at_start, memory_step_mb));
}

void grow_disk(Qmp& qmp, std::int64_t disk_gb) {
    const auto bytes = static_cast<std::int64_t>(static_cast<std::uint64_t>(disk_gb) * vmkit::gib);
    qmp.run("block_resize", Value::object({{"device", "root"}, {"size", bytes}}));
}

/// Gives the machine the size back that it had before a resize that failed. Returns what the error has to
/// tell of it: nothing if that is done.
std::string undo_resize(const Machine& machine, const ResizeSpec& spec) {
    const vmkit::Alone limit(undo_timeout);
    try {
        Qmp qmp(limit, monitor_of(machine));
        if (spec.memory_mb && more_memory_mb(machine) > 0)
            change_more_memory(qmp, machine.memory_mb - machine.start_memory_mb, undo_patience);
        if (spec.cpus) change_cpus(qmp, machine.cpus, undo_patience);
        return "";
    } catch (const Error&) {
    }
    try {
        Qmp qmp(limit, monitor_of(machine));
        return fmt::format("; the VM has {} CPUs and {} MiB now", count_cpus(qmp),
                           machine.start_memory_mb + count_more_memory_mb(qmp));
    } catch (const Error&) {  // it has ended
        return "";
    }
}

}  // namespace

Qemu::Qemu(const Config& config, milliseconds patience)
    : config_(config), patience_(patience), program_(vmkit::find_program(config.binary)) {}

std::string Qemu::why_emulated() const { return vmkit::kvm_state(config_.vm.kvm, "qemu").reason; }

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
    add_size(argv, machine);
    add({"-kernel", machine.kernel, "-append",
         machine.command_line + (more_memory_mb(machine) > 0 ? more_memory_parameters : "")});
    if (!machine.initramfs.empty()) add({"-initrd", machine.initramfs});
    // Standard output is the serial console.
    add({"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"});
    add({"-chardev", fmt::format("socket,id=qmp,fd={},server=on,wait=off", next++), "-mon",
         "chardev=qmp,mode=control"});
    add({"-drive",
         fmt::format("if=none,id=root,file={},format={},discard=unmap", quoted(machine.disk.path),
                     word_of(machine.disk.format)),
         "-device", fmt::format("virtio-blk-pci,drive=root,num-queues={}", disk_queues)});
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
    check_size(machine, spec);
    try {
        Qmp qmp(ctx, monitor_of(machine));
        if (spec.cpus) check_cpus(qmp, *spec.cpus);
        if (spec.memory_mb && more_memory_mb(machine) > 0)
            change_more_memory(qmp, *spec.memory_mb - machine.start_memory_mb, patience_);
        if (spec.cpus) change_cpus(qmp, *spec.cpus, patience_);
        if (spec.disk_gb) grow_disk(qmp, *spec.disk_gb);
    } catch (...) {
        const Error failure = current_error();
        throw Error{failure.code(), failure.message() + undo_resize(machine, spec), failure.hint(),
                    failure.retryable()};
    }
}

void Qemu::save(Context& ctx, const Machine& machine, const std::string& directory) {
    const Fd memory(::open((directory + memory_file).c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!memory) throw error_from_errno(errno, "cannot write the memory");
    Qmp qmp(ctx, monitor_of(machine));
    if (const int cpus = count_cpus(qmp); cpus != machine.cpus)
        throw Error{Code::conflict,
                    fmt::format("VM '{}' has {} CPUs and not {}, after a resize that failed", machine.name,
                                cpus, machine.cpus),
                    fmt::format("resize it to cpus {}, or stop and start it, first", machine.cpus)};
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
