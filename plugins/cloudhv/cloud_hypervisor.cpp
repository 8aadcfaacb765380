#include "plugins/cloudhv/cloud_hypervisor.hpp"

#include "plugins/vmkit/kvm.hpp"
#include "plugins/vmkit/launch.hpp"

#include <minions/agent/protocol.hpp>
#include <minions/base/deadline.hpp>
#include <minions/base/files.hpp>
#include <minions/base/spawn.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace minions::cloudhv {

using vmkit::Disk;
using vmkit::Machine;

namespace {

/// How long the news of a VMM's end may take after its connection broke.
constexpr milliseconds end_timeout = std::chrono::seconds(2);
constexpr const char* tun_device = "/dev/net/tun";
constexpr std::size_t most_config = std::size_t{4} << 20U;
/// What a snapshot consists of beside its configuration.
constexpr const char* saved_config = "config.json";
constexpr const char* saved_files[] = {"state.json", "memory-ranges"};

std::string api_path(const Machine& machine) { return machine.run_directory + "/" + std::string(api_name); }

[[noreturn]] void refuse(const char* field, const std::string& reason) {
    throw Error{Code::invalid,
                fmt::format("field '{}' of a running VM cannot be changed so: {}", field, reason),
                "stop it, resize it, and start it again"};
}

Fd open_directory(int at, const std::string& path) {
    Fd directory(::openat(at, path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!directory) throw error_from_errno(errno, "cannot open " + path);
    return directory;
}

Value read_config(const Fd& directory) {
    const Fd file(::openat(directory.get(), saved_config, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file) throw error_from_errno(errno, "cannot read the snapshot's configuration");
    return parse_json(read_file(file.get(), most_config));
}

/// A VMM reads a snapshot's configuration from beside its memory. So that it finds the paths of this boot
/// there, it is shown a directory with a configuration of its own and links to the rest.
std::string make_restore_directory(const Machine& machine, const std::string& saved) {
    const Value config = restored_config(read_config(open_directory(AT_FDCWD, saved)), machine);
    const Fd run = open_directory(AT_FDCWD, machine.run_directory);
    const std::string name(restore_name);
    if (::mkdirat(run.get(), name.c_str(), 0755) != 0)
        throw error_from_errno(errno, "cannot make a directory for the snapshot");
    const Fd made = open_directory(run.get(), name);
    for (const char* file : saved_files) {
        if (::symlinkat((saved + "/" + file).c_str(), made.get(), file) != 0)
            throw error_from_errno(errno, "cannot link the snapshot's files");
    }
    // By descriptor: the run directory is the VMM's own.
    replace_file(fmt::format("/proc/self/fd/{}/{}", made.get(), saved_config), to_json(config), 0644);
    return machine.run_directory + "/" + name;
}

/// The VMM opens its TAP itself, as a user of its own that joins the device's group, unless that is root's.
void check_tun() {
    struct stat info {};
    if (::stat(tun_device, &info) != 0)
        throw error_from_errno(errno, std::string("cannot use ") + tun_device);
    const mode_t others = S_IROTH | S_IWOTH;
    const mode_t group = S_IRGRP | S_IWGRP;
    if (::geteuid() != 0 || (info.st_mode & others) == others) return;
    if (info.st_gid != 0 && (info.st_mode & group) == group) return;
    throw Error{Code::failed,
                fmt::format("a VMM cannot open {}, whose mode is {:o}", tun_device, info.st_mode & 07777),
                "give it the mode 0666, as udev does: only its owner can use a TAP anyway"};
}

/// A snapshot that is said to be there is on the disk.
void flush(const std::string& path) {
    const Fd directory = open_directory(AT_FDCWD, path);
    for (const char* name : {saved_config, saved_files[0], saved_files[1]}) {
        const Fd file(::openat(directory.get(), name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
        if (!file || ::fsync(file.get()) != 0)
            throw error_from_errno(errno, fmt::format("cannot write the snapshot's {}", name));
    }
    if (::fsync(directory.get()) != 0) throw error_from_errno(errno, "cannot write " + path);
}

}  // namespace

CloudHypervisor::CloudHypervisor(const Config& config) : config_(config) {
    if (config.log_level != "warn" && config.log_level != "info" && config.log_level != "debug")
        throw Error{Code::invalid, "runtimes.cloudhv.log_level must be warn, info or debug"};
}

Health CloudHypervisor::health(Context& ctx) {
    Health health;
    const std::string program = vmkit::find_program(config_.binary);
    if (program.empty()) {
        health.reason =
            fmt::format("there is no program '{}': install Cloud Hypervisor or set runtimes.cloudhv.binary",
                        config_.binary);
        return health;
    }
    const auto said = version_.ask(ctx, program);
    const auto version = parse_version(said.text);
    if (!version) {
        health.reason =
            said.complaint.empty() ? fmt::format("'{}' is not Cloud Hypervisor", program) : said.complaint;
        health.reason += ": set runtimes.cloudhv.binary";
        return health;
    }
    health.version = version->text;
    health.reason = why_too_old(*version);
    if (!health.reason.empty()) return health;
    const auto kvm = vmkit::kvm_state(config_.vm.kvm, "cloudhv");
    health.healthy = kvm.usable;
    if (!kvm.usable) health.reason = "Cloud Hypervisor cannot do without KVM: " + kvm.reason;
    return health;
}

ProcessSpec CloudHypervisor::process(const Machine& machine) const {
    if (!machine.network.device.empty()) check_tun();
    const std::string program = vmkit::find_program(config_.binary);
    if (program.empty())
        throw Error{Code::unavailable, fmt::format("there is no program '{}'", config_.binary),
                    "install Cloud Hypervisor or set runtimes.cloudhv.binary"};
    ProcessSpec spec;
    spec.role = "vmm";
    spec.argv = {program, "--api-socket", "fd=3", "--seccomp", "true"};
    if (config_.log_level == "info") spec.argv.emplace_back("-v");
    if (config_.log_level == "debug") spec.argv.emplace_back("-vv");
    spec.devices = {"/dev/kvm", tun_device};
    return spec;
}

std::vector<Fd> CloudHypervisor::passed(const Machine& machine) const {
    std::vector<Fd> fds;
    fds.push_back(vmkit::listen_on(api_path(machine)));
    return fds;
}

NetworkAttachment CloudHypervisor::guest_network(const Machine& machine) const {
    // Without an interface there is nothing to set up: it has no network of its own.
    return machine.network.device.empty() ? NetworkAttachment{} : machine.network;
}

vmkit::AgentAddress CloudHypervisor::agent_address(const Machine& machine) const {
    return {vmkit::AgentAddress::Kind::listen, fmt::format("{}_{}", vsock_path(machine), agent::vsock_port)};
}

Api CloudHypervisor::api(const Machine& machine) const {
    return {api_path(machine), std::chrono::seconds(config_.api_timeout_seconds)};
}

void CloudHypervisor::boot(Context& ctx, const Machine& machine) {
    try {
        if (machine.saved) return go_on_from(ctx, machine, *machine.saved);
        const Api vmm = api(machine);
        vmm.expect(ctx, "Cloud Hypervisor refuses the VM", create_request(machine));
        vmm.expect_long(ctx, "Cloud Hypervisor cannot boot the VM", boot_request());
    } catch (const Error& error) {
        if (error.code() != Code::unavailable) throw;
        // That the VMM ended says more than that its connection broke: whoever knows of its end cancels.
        pollfd ended{ctx.cancel_fd(), POLLIN, 0};
        poll_until(&ended, 1, std::min(ctx.deadline(), deadline_in(end_timeout)));
        throw;
    }
}

void CloudHypervisor::go_on_from(const Context& ctx, const Machine& machine, const std::string& saved) const {
    const std::string shown = make_restore_directory(machine, saved);
    const Api vmm = api(machine);
    vmm.expect_long(ctx, "Cloud Hypervisor cannot go on from the snapshot", restore_request(shown));
    vmm.expect(ctx, "Cloud Hypervisor cannot resume the VM", resume_request());
}

void CloudHypervisor::pause(Context& ctx, const Machine& machine) {
    api(machine).expect(ctx, "Cloud Hypervisor cannot pause the VM", pause_request());
}

void CloudHypervisor::resume(Context& ctx, const Machine& machine) {
    api(machine).expect(ctx, "Cloud Hypervisor cannot resume the VM", resume_request());
}

bool CloudHypervisor::paused(Context& ctx, const Machine& machine) {
    const Value info = api(machine).expect(ctx, "Cloud Hypervisor does not tell of the VM", info_request());
    return info["state"].string_or("") == "Paused";
}

void CloudHypervisor::press_power_button(Context& ctx, const Machine& machine) {
    api(machine).expect(ctx, "Cloud Hypervisor cannot press the power button", power_button_request());
}

void CloudHypervisor::resize(Context& ctx, const Machine& machine, const ResizeSpec& spec) {
    const bool cpus = spec.cpus && *spec.cpus != machine.cpus;
    const bool memory = spec.memory_mb && *spec.memory_mb != machine.memory_mb;
    const Api vmm = api(machine);
    // Everything that can be known to be refused is, before anything is changed.
    if (cpus) {
        const Value info = vmm.expect(ctx, "Cloud Hypervisor does not tell of the VM", info_request());
        const auto most = info["config"]["cpus"]["max_vcpus"].int_or(machine.cpus);
        if (*spec.cpus > most) refuse("cpus", fmt::format("it was started with room for {}", most));
    }
    if (memory && *spec.memory_mb < machine.memory_mb) refuse("memory_mb", "it cannot get smaller");
    if (memory && (*spec.memory_mb - machine.memory_mb) % memory_step_mb != 0)
        refuse("memory_mb",
               fmt::format("it grows from {} in steps of {}", machine.memory_mb, memory_step_mb));
    if (spec.disk_gb && machine.disk.format != Disk::Format::raw)
        refuse("disk_gb", "its disk is an overlay over an image's");

    if (memory) {
        const ApiReply reply = vmm.call(ctx, resize_memory_request(*spec.memory_mb));
        if (!reply.ok()) refuse("memory_mb", reply.message());
    }
    if (cpus) {
        const ApiReply reply = vmm.call(ctx, resize_cpus_request(*spec.cpus));
        constexpr int removal_pending = 429;
        if (reply.status == removal_pending)
            throw Error{Code::unavailable,
                        "the guest has not given back all of the CPUs of an earlier resize", "try again",
                        true};
        if (!reply.ok()) refuse("cpus", reply.message());
    }
    if (spec.disk_gb) {
        const ApiReply reply = vmm.call(ctx, resize_disk_request(*spec.disk_gb));
        if (!reply.ok()) refuse("disk_gb", reply.message());
    }
}

void CloudHypervisor::save(Context& ctx, const Machine& machine, const std::string& directory) {
    api(machine).expect_long(ctx, "Cloud Hypervisor cannot save the VM", snapshot_request(directory));
    flush(directory);
}

}  // namespace minions::cloudhv
