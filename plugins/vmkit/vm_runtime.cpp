#include "plugins/vmkit/vm_runtime.hpp"

#include "plugins/vmkit/contexts.hpp"
#include "plugins/vmkit/disks.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/failpoint.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace minions::vmkit {

namespace {

/// How long a guest may take to take note of a wish.
constexpr auto wish_timeout = std::chrono::seconds(5);

std::uint64_t wanted_bytes(const InstanceSpec& spec, const VmConfig& config) {
    return static_cast<std::uint64_t>(spec.disk_gb.value_or(config.disk_gb)) * gib;
}

Size size_at_start(const InstanceSpec& spec, const VmConfig& config) {
    // What every hypervisor and every usual kernel can do, however much room there is to be.
    constexpr int most_cpus = 254;  // with more of them a guest needs x2APIC
    constexpr std::int64_t most_memory_mb = std::int64_t{512} << 10U;
    Size size;
    size.cpus = spec.cpus.value_or(1);
    size.memory_mb = size.start_memory_mb = spec.memory_mb.value_or(512);
    size.most_cpus = std::max(size.cpus, std::min(size.cpus * config.room, most_cpus));
    size.most_memory_mb = std::max(size.memory_mb, std::min(size.memory_mb * config.room, most_memory_mb));
    return size;
}

}  // namespace

VmState state_of(const Instance& instance) {
    if (!instance.state)
        throw Error{Code::wrong_state, fmt::format("VM '{}' has not been made completely", instance.name),
                    "destroy it"};
    if (instance.state->version != 1)
        throw Error{Code::failed,
                    fmt::format("VM '{}' was made by a newer version of minions", instance.name),
                    "start that version again"};
    return decode<VmState>(instance.state->data, Unknown::ignore);
}

Machine machine_of(const Instance& instance, const VmState& state) {
    Machine machine;
    machine.id = instance.id;
    machine.name = instance.name;
    static_cast<Size&>(machine) = state;
    machine.disk = state.disk;
    machine.kernel = state.image.kernel;
    machine.initramfs = state.image.initramfs;
    // A guest whose kernel has died starts anew rather than to hang.
    machine.command_line = state.image.command_line + " console=ttyS0 panic=-1";
    machine.network = state.network;
    machine.host_vsock = state.host_vsock;
    machine.run_directory = state.run_directory;
    return machine;
}

VmRuntime::VmRuntime(Host& host, std::unique_ptr<Vmm> vmm, const VmConfig& config)
    : host_(host),
      vmm_(std::move(vmm)),
      config_(config),
      lives_([this](const LifePtr& life) { ended(life); }) {}

VmRuntime::~VmRuntime() = default;

RuntimeState VmRuntime::create(Context& ctx, const Instance& instance) {
    if (!instance.spec.command.empty())
        throw Error{Code::unsupported_by_runtime, "a VM does not honour field 'command'",
                    "run it with exec once the VM is there, or put it into the image"};
    VmState state;
    MINIONS_FAILPOINT("vm.image.before");
    state.image = ctx.images().acquire(instance.spec.image);
    MINIONS_FAILPOINT("vm.image.after");
    const ProcessHome home = ctx.processes().home();
    MINIONS_FAILPOINT("vm.disk.before");
    state.disk = make_disk(home, state.image, wanted_bytes(instance.spec, config_));
    MINIONS_FAILPOINT("vm.disk.after");
    return state.encoded();
}

InstanceFacts VmRuntime::start(Context& ctx, const Instance& instance) {
    VmState state = state_of(instance);
    if (instance.spec.disk_gb) grow_disk(state.disk, wanted_bytes(instance.spec, config_));
    static_cast<Size&>(state) = size_at_start(instance.spec, config_);
    return boot(ctx, instance, state, std::nullopt);
}

InstanceFacts VmRuntime::facts(const VmState& state, Status status) const {
    InstanceFacts facts;
    facts.status = status;
    if (!state.network.address.empty())
        facts.ip = state.network.address.substr(0, state.network.address.find('/'));
    facts.vsock_cid = state.network.vsock_cid;
    return facts;
}

LifePtr VmRuntime::need(const Instance& instance) const {
    auto life = lives_.find(instance.id);
    if (!life)
        throw Error{Code::wrong_state, fmt::format("VM '{}' does not run", instance.name), "start it first"};
    return life;
}

void VmRuntime::end_politely(Context& ctx, Life& life, milliseconds grace) {
    Bounded limits(ctx, life.over.fd(), std::chrono::steady_clock::now() + grace);
    try {
        if (vmm_->paused(limits, life.machine)) vmm_->resume(limits, life.machine);
        try {
            if (!life.agent->version().empty()) {
                Bounded soon(limits, -1, std::chrono::steady_clock::now() + wish_timeout);
                life.agent->call(soon, agent::Method::shutdown);
            } else {
                vmm_->press_power_button(limits, life.machine);
            }
        } catch (const Error&) {  // it answers no more
            vmm_->press_power_button(limits, life.machine);
        }
        pollfd fds[] = {{life.over.fd(), POLLIN, 0}, {ctx.cancel_fd(), POLLIN, 0}};
        poll_until(fds, 2, limits.deadline());
    } catch (const Error& error) {
        if (!life.over.raised()) ctx.log(LogLevel::warning, error.message());
    }
    if (ctx.cancelled()) ctx.check();
}

InstanceFacts VmRuntime::stop(Context& ctx, const Instance& instance, milliseconds grace) {
    if (const auto life = lives_.find(instance.id)) end_politely(ctx, *life, grace);
    kill(ctx, instance);
    return facts(state_of(instance), Status::stopped);
}

void VmRuntime::kill(Context& ctx, const Instance& instance) { finish(ctx, instance); }

void VmRuntime::destroy(Context& ctx, const Instance& instance) { finish(ctx, instance); }

InstanceFacts VmRuntime::inspect(Context& ctx, const Instance& instance) {
    const VmState state = state_of(instance);
    const auto process = ctx.processes().find("vmm");
    const auto life = lives_.find(instance.id);
    if (!process || !life || life->over.raised()) return facts(state, Status::stopped);
    InstanceFacts now = facts(state, vmm_->paused(ctx, life->machine) ? Status::paused : Status::running);
    now.pid = process->info.pid;
    return now;
}

void VmRuntime::release(Context&, const JournalRow&) {}

std::optional<InstanceFacts> VmRuntime::recover(Context& ctx, const Instance& instance) {
    const VmState state = state_of(instance);
    auto process = ctx.processes().find("vmm");
    if (!process) return facts(state, Status::stopped);
    // Its end comes at once where it has ended already.
    pollfd fd{process->end.get(), POLLIN, 0};
    if (::poll(&fd, 1, 0) > 0) {
        finish(ctx, instance);
        InstanceFacts dead = facts(state, Status::stopped);
        dead.reason = "its VMM ended while the daemon was away";
        return dead;
    }
    InstanceFacts alive = facts(state, state.paused ? Status::paused : Status::running);
    alive.pid = process->info.pid;
    const auto life = adopt(instance, machine_of(instance, state), std::move(*process));
    life->begun = true;
    return alive;
}

void VmRuntime::recovered(Context&) {}

}  // namespace minions::vmkit
