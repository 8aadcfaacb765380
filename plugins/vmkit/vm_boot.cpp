#include "plugins/vmkit/console.hpp"
#include "plugins/vmkit/contexts.hpp"
#include "plugins/vmkit/vm_runtime.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/failpoint.hpp>
#include <minions/base/files.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>

namespace minions::vmkit {

using agent::Fields;
using agent::Method;
namespace tag = agent::tag;

namespace {

constexpr milliseconds set_up_again_timeout = std::chrono::seconds(20);

/// What the VMM said last, for the end of an error's text.
std::string said(const std::string& directory) {
    const std::string lines = last_lines(directory, "vmm.err", 3);
    return lines.empty() ? "" : ": " + lines;
}

std::string how_it_ended(const ProcessEnd& end) {
    if (end.exit_code) return fmt::format("ended with exit code {}", *end.exit_code);
    if (end.signal) return fmt::format("was killed by signal {}", *end.signal);
    return "ended";
}

Fd open_directory(const std::string& path) {
    Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!directory) throw error_from_errno(errno, "cannot open " + path);
    return directory;
}

/// A directory of this boot alone, the VMM's own: no socket of a former life is in the way.
std::string fresh_directory(const ProcessHome& home, std::uint64_t boot) {
    const std::string name = fmt::format("b{}", boot % 10'000'000);
    remove_tree(open_directory(home.run_directory).get(), name);
    std::string path = home.run_directory + "/" + name;
    if (::mkdir(path.c_str(), 0700) != 0) throw error_from_errno(errno, "cannot make " + path);
    if (::geteuid() == 0 &&
        ::lchown(path.c_str(), static_cast<uid_t>(home.uid), static_cast<gid_t>(home.gid)) != 0)
        throw error_from_errno(errno, "cannot give " + path + " to the machine's user");
    return path;
}

void remove_run_directories(const ProcessHome& home) {
    const Fd own = open_directory(home.run_directory);
    for (const auto& entry : std::filesystem::directory_iterator(home.run_directory))
        remove_tree(own.get(), entry.path().filename());
}

}  // namespace

LifePtr VmRuntime::adopt(const Instance& instance, const Machine& machine, SupervisedProcess process) {
    auto life = std::make_shared<Life>();
    life->instance = instance.id;
    life->boot = instance.boot;
    life->machine = machine;
    life->process = process.info;
    life->end = std::move(process.end);
    AgentClient::Events events;
    // A session after the first is one of a guest that was restarted, or restored: it has to be set up again.
    events.up = [this, weak = std::weak_ptr<Life>(life), name = instance.name] {
        const auto present = weak.lock();
        if (!present || !present->begun) return;
        jobs_.post([this, weak, name] {
            const auto still = weak.lock();
            if (!still) return;
            try {
                set_up(Alone(set_up_again_timeout), *still, name);
            } catch (const std::exception& error) {
                host_.log(LogLevel::warning,
                          fmt::format("VM '{}' could not be set up again: {}", name, error.what()));
            }
        });
    };
    life->agent = std::make_unique<AgentClient>(agents_, vmm_->agent_address(machine), std::move(events));
    lives_.add(life);
    return life;
}

LifePtr VmRuntime::begin(Context& ctx, const Instance& instance, const Machine& machine) {
    MINIONS_FAILPOINT("vm.start.before");
    auto process = ctx.processes().start(vmm_->process(machine), vmm_->passed(machine));
    MINIONS_FAILPOINT("vm.start.after");
    return adopt(instance, machine, std::move(process));
}

void VmRuntime::set_up(const Context& ctx, Life& life, const std::string& host_name) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    Fields time;
    time.add_number(tag::unix_ns, std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
    life.agent->call(ctx, Method::set_time, std::move(time));

    const NetworkAttachment network = vmm_->guest_network(life.machine);
    Fields fields;
    fields.add(tag::host_name, host_name);
    if (!network.address.empty()) {
        fields.add(tag::address, network.address)
            .add(tag::mac, network.mac)
            .add_number(tag::mtu, network.mtu);
        if (!network.gateway.empty()) fields.add(tag::gateway, network.gateway);
        for (const auto& server : network.dns) fields.add(tag::name_server, server);
    }
    life.agent->call(ctx, Method::network, std::move(fields));
    use_all(ctx, life, host_name);
}

void VmRuntime::use_all(const Context& ctx, Life& life, const std::string& name) {
    try {
        life.agent->call(ctx, Method::grow);
    } catch (const Error& error) {
        // A root file system of another kind, or on a partition, stays as it is.
        if (error.code() != Code::invalid) throw;
        host_.log(LogLevel::info,
                  fmt::format("the disk of VM '{}' is not filled: {}", name, error.message()));
    }
}

void VmRuntime::wait_for_agent(Context& ctx, Life& life, const std::string& host_name) {
    ctx.progress({"waiting for the agent", "", std::nullopt, std::nullopt});
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(config_.agent_timeout_seconds);
    Bounded limits(ctx, -1, until);
    try {
        MINIONS_FAILPOINT("vm.agent.before");
        life.agent->wait_ready(limits);
        MINIONS_FAILPOINT("vm.agent.after");
        set_up(limits, life, host_name);
        MINIONS_FAILPOINT("vm.setup.after");
    } catch (const Error& error) {
        if (error.code() != Code::deadline || std::chrono::steady_clock::now() >= ctx.deadline()) throw;
        throw Error{
            Code::failed,
            fmt::format("the guest's agent did not answer within {} seconds", config_.agent_timeout_seconds),
            "look at log_tail in the diagnosis for what the guest said; raise agent_timeout_seconds if it is "
            "only slow"};
    }
    life.begun = true;
}

InstanceFacts VmRuntime::boot(Context& ctx, const Instance& instance, VmState& state,
                              std::optional<std::string> saved) {
    const ProcessHome home = ctx.processes().home();
    LifePtr life;
    try {
        MINIONS_FAILPOINT("vm.network.before");
        state.network = ctx.network().attach();
        MINIONS_FAILPOINT("vm.network.after");
        state.host_vsock = state.network.vsock_cid && vmm_->offers_host_vsock() && agents_.vsock() != nullptr;
        state.run_directory = fresh_directory(home, instance.boot);
        MINIONS_FAILPOINT("vm.directory.after");
        state.boot = instance.boot;
        state.paused = false;
        ctx.save_state(state.encoded());
        Machine machine = machine_of(instance, state);
        machine.saved = std::move(saved);
        ctx.progress({"booting", "", std::nullopt, std::nullopt});
        life = begin(ctx, instance, machine);
        Bounded alive(ctx, life->over.fd());
        MINIONS_FAILPOINT("vm.boot.before");
        vmm_->boot(alive, machine);
        MINIONS_FAILPOINT("vm.boot.after");
        wait_for_agent(alive, *life, instance.name);
        life->machine.saved.reset();
    } catch (...) {
        Error failure = current_error();
        if (life && life->over.raised() && !ctx.cancelled())
            failure = Error{Code::failed, fmt::format("the VMM {}{}", how_it_ended(life->how.lock()->value()),
                                                      said(home.directory))};
        try {
            finish(ctx, instance);
        } catch (const std::exception& error) {  // core undoes the rest
            ctx.log(LogLevel::warning, error.what());
        }
        throw failure;
    }
    InstanceFacts now = facts(state, Status::running);
    now.pid = life->process.pid;
    return now;
}

void VmRuntime::ended(const LifePtr& life) {
    InstanceFacts now;
    now.status = Status::stopped;
    const ProcessEnd end = life->how.lock()->value();
    now.exit_code = end.exit_code ? end.exit_code
                    : end.signal  ? std::optional(128 + *end.signal)
                                  : std::nullopt;
    now.reason = end.exit_code == 0 ? "the guest powered off" : fmt::format("its VMM {}", how_it_ended(end));
    if (!life->machine.network.address.empty())
        now.ip = life->machine.network.address.substr(0, life->machine.network.address.find('/'));
    now.vsock_cid = life->machine.network.vsock_cid;
    host_.report({life->instance, life->boot, std::move(now)});
    // The directory of one boot: whatever comes next has its own.
    try {
        const std::string& path = life->machine.run_directory;
        const auto slash = path.rfind('/');
        remove_tree(open_directory(path.substr(0, slash)).get(), path.substr(slash + 1));
    } catch (const std::exception&) {  // gone with its instance
    }
}

void VmRuntime::finish(Context& ctx, const Instance& instance) {
    lives_.forget(instance.id);
    MINIONS_FAILPOINT("vm.finish.before");
    ctx.processes().kill("vmm");
    MINIONS_FAILPOINT("vm.finish.killed");
    ctx.network().detach();
    MINIONS_FAILPOINT("vm.finish.detached");
    remove_run_directories(ctx.processes().home());
    MINIONS_FAILPOINT("vm.finish.after");
}

}  // namespace minions::vmkit
