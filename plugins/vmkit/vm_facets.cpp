#include "plugins/vmkit/console.hpp"
#include "plugins/vmkit/contexts.hpp"
#include "plugins/vmkit/disks.hpp"
#include "plugins/vmkit/vm_runtime.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <utility>

namespace minions::vmkit {

namespace {
constexpr milliseconds undo_timeout = std::chrono::seconds(30);
}

ExecEnd VmRuntime::exec(Context& ctx, const Instance& instance, const ExecSpec& spec, ExecStreams streams) {
    const auto life = need(instance);
    ExecSpec whole = spec;
    // What the command is given itself counts more than what the instance has.
    whole.env.insert(instance.spec.environment.begin(), instance.spec.environment.end());
    Bounded alive(ctx, life->over.fd());
    try {
        return life->agent->exec(alive, whole, std::move(streams));
    } catch (const Error& error) {
        if (!life->over.raised() || ctx.cancelled()) throw;
        throw Error{Code::unavailable, fmt::format("VM '{}' ended while the command ran", instance.name)};
    }
}

void VmRuntime::logs(Context& ctx, const Instance& instance, const LogsSpec& spec, Fd out) {
    LogsSpec wanted = spec;
    const auto life = lives_.find(instance.id);
    if (!life) wanted.follow = false;  // nothing more can come
    read_output(ctx, ctx.processes().home().directory, "vmm.out", wanted, life ? life->over.fd() : -1,
                std::move(out));
}

void VmRuntime::read_files(Context& ctx, const Instance& instance, const std::string& path, Fd out) {
    need(instance)->agent->read_files(ctx, path, std::move(out));
}

void VmRuntime::write_files(Context& ctx, const Instance& instance, const std::string& path, Fd in) {
    need(instance)->agent->write_files(ctx, path, std::move(in));
}

Fd VmRuntime::forward(Context& ctx, const Instance& instance, int port) {
    return need(instance)->agent->forward(ctx, port);
}

Stats VmRuntime::stats(Context& ctx, const Instance& instance) { return need(instance)->agent->stats(ctx); }

InstanceFacts VmRuntime::pause(Context& ctx, const Instance& instance) {
    const auto life = need(instance);
    vmm_->pause(ctx, life->machine);
    return remember_paused(ctx, instance, *life, true);
}

InstanceFacts VmRuntime::resume(Context& ctx, const Instance& instance) {
    const auto life = need(instance);
    vmm_->resume(ctx, life->machine);
    return remember_paused(ctx, instance, *life, false);
}

InstanceFacts VmRuntime::remember_paused(Context& ctx, const Instance& instance, const Life& life,
                                         bool paused) {
    VmState state = state_of(instance);
    state.paused = paused;
    ctx.save_state(state.encoded());
    InstanceFacts now = facts(state, paused ? Status::paused : Status::running);
    now.pid = life.process.pid;
    return now;
}

void VmRuntime::undo_resize(Context& ctx, Life& life, const ResizeSpec& former) {
    if (!former.cpus && !former.memory_mb) return;
    try {
        Alone limit(undo_timeout);
        vmm_->resize(limit, life.machine, former);
        if (former.cpus) life.machine.cpus = *former.cpus;
        if (former.memory_mb) life.machine.memory_mb = *former.memory_mb;
    } catch (const std::exception& error) {
        ctx.log(LogLevel::warning, fmt::format("a resize could not be undone: {}", error.what()));
    }
}

InstanceFacts VmRuntime::resize(Context& ctx, const Instance& instance, const ResizeSpec& spec) {
    VmState state = state_of(instance);
    if (spec.disk_gb && static_cast<std::uint64_t>(*spec.disk_gb) * gib < disk_bytes(state.disk))
        throw Error{Code::invalid, "field 'disk_gb' cannot make a disk smaller",
                    fmt::format("it has {} GiB", disk_bytes(state.disk) / gib)};
    const auto life = lives_.find(instance.id);
    if (!life) {
        if (spec.disk_gb) grow_disk(state.disk, static_cast<std::uint64_t>(*spec.disk_gb) * gib);
        return facts(state, Status::stopped);
    }
    Bounded alive(ctx, life->over.fd());
    vmm_->resize(alive, life->machine, spec);
    ResizeSpec former;  // a disk cannot become smaller again
    if (spec.cpus) former.cpus = std::exchange(life->machine.cpus, *spec.cpus);
    if (spec.memory_mb) former.memory_mb = std::exchange(life->machine.memory_mb, *spec.memory_mb);
    try {
        use_all(alive, *life, instance.name);
    } catch (...) {
        const Error failure = current_error();
        undo_resize(ctx, *life, former);
        throw failure;
    }
    static_cast<Size&>(state) = life->machine;
    ctx.save_state(state.encoded());
    InstanceFacts now = facts(state, Status::running);
    now.pid = life->process.pid;
    return now;
}

}  // namespace minions::vmkit
