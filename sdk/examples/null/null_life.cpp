#include "null_instance.hpp"

#include <cmath>
#include <cstdlib>

namespace minions::examples {
namespace {

constexpr std::size_t max_log_bytes = std::size_t{1} << 20;

/// A life that the command itself limits.
struct End {
    milliseconds after{0};
    int exit_code = 0;
};

std::optional<End> end_of(const InstanceSpec& spec) {
    const std::string program = spec.command.empty() ? "" : spec.command[0];
    const std::string argument = spec.command.size() > 1 ? spec.command[1] : "0";
    if (program == "exit") return End{milliseconds(0), std::atoi(argument.c_str()) & 0xff};
    if (program == "echo") return End{};
    if (program == "sleep") {
        return End{milliseconds(std::llround(std::atof(argument.c_str()) * 1000)), 0};
    }
    const auto after = number_label(spec.labels, "null.exit_after_ms", -1);
    if (after < 0) return std::nullopt;
    return End{milliseconds(after), static_cast<int>(number_label(spec.labels, "null.exit_code", 0))};
}

std::string first_log(const InstanceSpec& spec) {
    if (spec.command.empty() || spec.command[0] != "echo") return "started\n";
    std::string line;
    for (std::size_t i = 1; i < spec.command.size(); ++i) line += (i > 1 ? " " : "") + spec.command[i];
    return line + "\n";
}

}  // namespace

void NullLife::add_log(std::string_view text) {
    log += text;
    if (log.size() > max_log_bytes) log.erase(0, log.size() - max_log_bytes);
    wake();
}

InstanceFacts NullInstance::facts() const {
    InstanceFacts facts;
    const auto now = life.lock();
    facts.status = now->status;
    facts.exit_code = now->exit_code;
    facts.handle = "null-" + id;
    if (now->status == Status::running || now->status == Status::paused) {
        facts.ip = "192.0.2.1";  // for documentation: nobody answers there
        int made_up = 40000;
        const auto ports = spec.lock()->ports;
        for (const auto& port : ports) {
            const int on_host = port.host_port != 0 ? port.host_port : made_up++;
            facts.ports[std::to_string(port.port) + "/" + port.protocol] = on_host;
        }
    }
    return facts;
}

InstanceFacts NullRuntime::start(Context& ctx, const Instance& instance) {
    misbehave(ctx, "start", instance.spec.labels);
    const auto held = find(instance.id);
    const InstanceSpec spec = *held->spec.lock();
    const auto end = end_of(spec);
    {
        const auto life = held->life.lock();
        if (life->status == Status::running || life->status == Status::paused) {
            throw Error(Code::wrong_state, "the instance runs already");
        }
        life->status = Status::running;
        life->boot = instance.boot;
        life->exit_code.reset();
        life->started = std::chrono::steady_clock::now();
        life->add_log(first_log(spec));
    }
    if (end && end->after.count() == 0) {
        end_life(held, instance.boot, end->exit_code, false);
    } else if (end) {
        timers_->at(
            std::chrono::steady_clock::now() + end->after,
            [this, held, boot = instance.boot, code = end->exit_code] { end_life(held, boot, code, true); });
    }
    save(*held);
    return held->facts();
}

InstanceFacts NullRuntime::stop(Context& ctx, const Instance& instance, milliseconds) {
    misbehave(ctx, "stop", instance.spec.labels);
    const auto held = find(instance.id);
    end_life(held, held->boot(), 0, false);
    return held->facts();
}

void NullRuntime::kill(Context& ctx, const Instance& instance) {
    misbehave(ctx, "kill", instance.spec.labels);
    const auto held = find(instance.id);
    end_life(held, held->boot(), 137, false);
}

void NullRuntime::end_life(const Shared& instance, std::uint64_t boot, int exit_code, bool report) {
    {
        const auto life = instance->life.lock();
        const bool alive = life->status == Status::running || life->status == Status::paused;
        if (!alive || life->boot != boot) return;
        life->status = Status::stopped;
        life->exit_code = exit_code;
        life->add_log("ended with exit code " + std::to_string(exit_code) + "\n");
    }
    if (instances_.lock()->contains(instance->id)) save(*instance);
    if (report) host_.report({.instance = instance->id, .boot = boot, .facts = instance->facts()});
}

void NullRuntime::end_instance(const std::string& id, int exit_code) {
    const auto held = find(id);
    end_life(held, held->boot(), exit_code, true);
}

InstanceFacts NullRuntime::pause(Context& ctx, const Instance& instance) {
    misbehave(ctx, "pause", instance.spec.labels);
    const auto held = find(instance.id);
    {
        const auto life = held->life.lock();
        if (life->status == Status::running) {
            life->status = Status::paused;
        } else if (life->status != Status::paused) {
            throw Error(Code::wrong_state, "only a running instance can be paused");
        }
    }
    save(*held);
    return held->facts();
}

InstanceFacts NullRuntime::resume(Context& ctx, const Instance& instance) {
    misbehave(ctx, "resume", instance.spec.labels);
    const auto held = find(instance.id);
    {
        const auto life = held->life.lock();
        if (life->status == Status::paused) {
            life->status = Status::running;
        } else if (life->status != Status::running) {
            throw Error(Code::wrong_state, "only a paused instance can be resumed");
        }
    }
    save(*held);
    return held->facts();
}

InstanceFacts NullRuntime::resize(Context& ctx, const Instance& instance, const ResizeSpec& wanted) {
    misbehave(ctx, "resize", instance.spec.labels);
    const auto held = find(instance.id);
    {
        const auto spec = held->spec.lock();
        if (wanted.disk_gb && spec->disk_gb && *wanted.disk_gb < *spec->disk_gb) {
            throw Error(Code::invalid, "field 'disk_gb' must not be less than it is: a disk cannot shrink");
        }
        if (wanted.cpus) spec->cpus = wanted.cpus;
        if (wanted.memory_mb) spec->memory_mb = wanted.memory_mb;
        if (wanted.disk_gb) spec->disk_gb = wanted.disk_gb;
    }
    save(*held);
    return held->facts();
}

Stats NullRuntime::stats(Context& ctx, const Instance& instance) {
    misbehave(ctx, "stats", instance.spec.labels);
    const auto held = find_running(instance.id);
    const auto uptime = std::chrono::steady_clock::now() - held->life.lock()->started;
    Stats stats;
    stats.uptime_secs = std::chrono::duration_cast<std::chrono::seconds>(uptime).count();
    stats.hostname = instance.name;
    stats.memory_total_mb = held->spec.lock()->memory_mb.value_or(1024);
    stats.memory_used_mb = 1;
    stats.cpu_usage_percent = 0.0;
    return stats;
}

}  // namespace minions::examples
