#include "plugins/docker/build.hpp"
#include "plugins/docker/exec.hpp"
#include "plugins/docker/forward.hpp"
#include "plugins/docker/runtime.hpp"

#include <minions/base/deadline.hpp>

#include <fmt/format.h>

#include <poll.h>

#include <chrono>

namespace minions::docker {
namespace {

using namespace std::chrono_literals;

/// Apart enough that the engine's clock and accounting give a figure that means something.
constexpr milliseconds least_cpu_span = 100ms;
constexpr milliseconds longest_cpu_span = 60s;

Error files_refused(const Reply& reply, const std::string& path) {
    const std::string reason = reply.message();
    if (reason.find("not a directory") != std::string::npos) {
        return {Code::invalid, fmt::format("'{}' is not a directory in the instance", path)};
    }
    if (reply.status == 404) {
        return {Code::not_found, fmt::format("'{}' does not exist in the instance: {}", path, reason)};
    }
    return failure(reply, fmt::format("'{}' cannot be copied", path));
}

void require_absolute(const std::string& path) {
    if (path.starts_with('/') && path.find('\0') == std::string::npos) return;
    throw Error(Code::invalid, fmt::format("field 'path': '{}' is not absolute", path),
                "begin the path with a slash");
}

}  // namespace

ExecEnd DockerRuntime::exec(Context& ctx, const Instance& instance, const ExecSpec& spec,
                            ExecStreams streams) {
    registry_.note(instance);
    return Exec(engine_, ctx, container_of(Patience::of(ctx), instance), spec, std::move(streams)).run();
}

void DockerRuntime::logs(Context& ctx, const Instance& instance, const LogsSpec& spec, Fd out) {
    const NoSigpipe no_sigpipe;
    Interrupts interrupts(ctx.cancel_fd());
    interrupts.watch_reader(out.get());
    const Patience patience{ctx.deadline(), interrupts.fd()};
    const std::string container = container_of(Patience::of(ctx), instance);
    try {
        Incoming incoming =
            engine_.open(patience, "GET",
                         fmt::format("/containers/{}/logs?stdout=1&stderr=1&follow={}&tail={}", container,
                                     spec.follow ? 1 : 0, spec.tail ? std::to_string(*spec.tail) : "all"));
        if (incoming.status() != 200) {
            throw failure({incoming.status(), incoming.rest()}, "the logs cannot be read");
        }
        bool reading = true;
        Demultiplexer demux([&](Stream, std::string_view bytes) {
            reading = reading && write_patiently(out.get(), bytes, patience);
        });
        for (auto bytes = incoming.read(); reading && !bytes.empty(); bytes = incoming.read())
            demux.feed(bytes);
        if (reading) demux.finish();
    } catch (const Error& error) {
        if (error.code() == Code::cancelled && !ctx.cancelled() && reader_gone(out.get())) return;
        throw;
    }
}

void DockerRuntime::read_files(Context& ctx, const Instance& instance, const std::string& path, Fd out) {
    require_absolute(path);
    const NoSigpipe no_sigpipe;
    const Patience patience = Patience::of(ctx);
    const std::string container = container_of(patience, instance);
    Incoming incoming = engine_.open(patience, "GET",
                                     fmt::format("/containers/{}/archive?path={}", container, encoded(path)));
    if (incoming.status() != 200) throw files_refused({incoming.status(), incoming.rest()}, path);
    for (auto bytes = incoming.read(); !bytes.empty(); bytes = incoming.read()) {
        if (!write_patiently(out.get(), bytes, patience)) return;
    }
}

void DockerRuntime::write_files(Context& ctx, const Instance& instance, const std::string& path, Fd in) {
    require_absolute(path);
    const Patience patience = Patience::of(ctx);
    const std::string container = container_of(patience, instance);
    Incoming incoming = engine_.upload(
        patience, "PUT", fmt::format("/containers/{}/archive?path={}", container, encoded(path)), in.get());
    const Reply reply{incoming.status(), incoming.rest()};
    if (!reply.ok()) throw files_refused(reply, path);
}

Fd DockerRuntime::forward(Context& ctx, const Instance& instance, int port) {
    const Patience patience = Patience::of(ctx);
    const std::string container = container_of(patience, instance);
    const InstanceFacts now = facts_from_inspect(inspected(patience, container));
    if (now.status != Status::running) {
        throw Error(Code::wrong_state, fmt::format("instance '{}' is not running", instance.name),
                    "start or resume it first");
    }
    return connect_inside(patience, container, static_cast<pid_t>(now.pid.value_or(0)), now.ip, port);
}

BuildResult DockerRuntime::build(Context& ctx, const BuildSpec& spec, Fd context, Fd log) {
    Build build(engine_, ctx, host_.installation(), spec);
    try {
        const auto building = leftovers_.building(Patience::of(ctx));
        return build.run(std::move(context), std::move(log));
    } catch (...) {
        // The engine may commit the step it is at even now, and what could not be removed goes when it can.
        leftovers_.add(build.left_over());
        watcher_.tidy_up();
        throw;
    }
}

void DockerRuntime::remove_image(Context& ctx, const std::string& image) {
    if (!remove_built_image(engine_, Patience::of(ctx), host_.installation(), image)) {
        throw Error(Code::conflict,
                    fmt::format("the image '{}' was not built by this installation: it stays", image),
                    "remove it with the engine's own tools");
    }
    ctx.journal().gone("image", image);
}

InstanceFacts DockerRuntime::pause(Context& ctx, const Instance& instance) {
    return change_pause(ctx, instance, "pause", Status::paused);
}

InstanceFacts DockerRuntime::resume(Context& ctx, const Instance& instance) {
    return change_pause(ctx, instance, "unpause", Status::running);
}

/// Engines answer a repetition with an error of their own each; what is so already is success.
InstanceFacts DockerRuntime::change_pause(Context& ctx, const Instance& instance, const char* verb,
                                          Status wanted) {
    const Registry::Mutation mutation(registry_, instance);
    const std::string container = container_of(Patience::of(ctx), instance);
    const Reply reply =
        engine_.call(Patience::of(ctx), "POST", fmt::format("/containers/{}/{}", container, verb));
    InstanceFacts now = changed(ctx, instance, container);
    if (reply.ok() || now.status == wanted) return now;
    if (now.status == Status::running || now.status == Status::paused) {
        throw failure(reply, fmt::format("instance '{}' refuses to {}", instance.name, verb));
    }
    throw Error(Code::wrong_state, fmt::format("instance '{}' is not running", instance.name),
                "start it first");
}

InstanceFacts DockerRuntime::resize(Context& ctx, const Instance& instance, const ResizeSpec& spec) {
    if (spec.disk_gb) {
        throw Error(Code::invalid, "field 'disk_gb': a container has no disk of its own to resize",
                    "leave disk_gb out");
    }
    const Registry::Mutation mutation(registry_, instance);
    const std::string container = container_of(Patience::of(ctx), instance);
    if (spec.cpus || spec.memory_mb) {
        const Reply reply =
            engine_.call(Patience::of(ctx), "POST", fmt::format("/containers/{}/update", container),
                         update_document(spec));
        if (!reply.ok()) {
            const std::string reason = reply.message();
            if (reason.find("CPUs") != std::string::npos)
                throw Error(Code::invalid, "field 'cpus': " + reason);
            if (reason.find("emory") != std::string::npos) {
                throw Error(Code::invalid, "field 'memory_mb': " + reason,
                            "ask for more than the instance uses now");
            }
            throw failure(reply, "the container cannot be resized");
        }
    }
    return changed(ctx, instance, container);
}

Stats DockerRuntime::stats(Context& ctx, const Instance& instance) {
    registry_.note(instance);
    const Patience patience = Patience::of(ctx);
    const std::string container = container_of(patience, instance);
    const Value document = inspected(patience, container);
    const Status status = facts_from_inspect(document).status;
    if (status != Status::running && status != Status::paused) {
        throw Error(Code::wrong_state, fmt::format("instance '{}' is not running", instance.name),
                    "start it first");
    }
    const auto sample = [&] {
        return engine_.expect(patience, "the statistics cannot be read", "GET",
                              fmt::format("/containers/{}/stats?stream=false&one-shot=true", container));
    };
    Value now = sample();
    auto before = registry_.exchange_cpu(instance.id, cpu_sample(now));
    const auto span = [&] { return cpu_sample(now).at - before->at; };
    if (!before || span() < least_cpu_span || span() > longest_cpu_span) {
        before = cpu_sample(now);
        pollfd cancel{patience.cancel_fd, POLLIN, 0};
        poll_until(&cancel, 1, std::min<Deadline>(patience.deadline, deadline_in(2 * least_cpu_span)));
        ctx.check();
        now = sample();
        registry_.exchange_cpu(instance.id, cpu_sample(now));
    }
    Stats stats = stats_from(now, document, std::chrono::system_clock::now());
    stats.cpu_usage_percent = cpu_percent(*before, cpu_sample(now));
    return stats;
}

}  // namespace minions::docker
