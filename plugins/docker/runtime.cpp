#include "plugins/docker/runtime.hpp"

#include "plugins/docker/copy.hpp"
#include "plugins/docker/create.hpp"
#include "plugins/docker/removal.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace minions::docker {
namespace {

using namespace std::chrono_literals;

Error start_refused(const Reply& reply) {
    const std::string reason = reply.message();
    if (reason.find("already allocated") != std::string::npos ||
        reason.find("address already in use") != std::string::npos) {
        return {Code::conflict, "field 'ports': " + reason, "choose another host_port, or 0 for a free one"};
    }
    if (reply.status == 404 && reason.find("No such container") != std::string::npos) {
        return {Code::not_found, "the container is gone: " + reason, "destroy the instance"};
    }
    const Error error = failure(reply, "the container cannot be started");
    if (error.code() == Code::no_space || error.code() == Code::unavailable) return error;
    return {Code::failed, error.message()};
}

}  // namespace

DockerRuntime::DockerRuntime(Host& host, const Config& config)
    : host_(host), config_(config), engine_(config_), watcher_(engine_, registry_, leftovers_, host_) {
    registry_.on_look([this](const std::string& instance) { watcher_.look(instance); });
}

Health DockerRuntime::health(Context& ctx) {
    Health health;
    try {
        const EngineVersion version = engine_.version(Patience::of(ctx).at_most(1900ms));
        health.healthy = true;
        health.version = version.version;
        if (version.podman) health.missing.emplace("resize", "Podman's compatible API has no call for it");
    } catch (const Error& error) {
        if (error.code() == Code::cancelled) throw;
        health.reason = error.what();
        if (error.code() == Code::deadline) {
            health.reason = fmt::format("the engine at {} does not answer; look at its log, or restart it",
                                        engine_.socket());
        }
    }
    return health;
}

RuntimeState DockerRuntime::create(Context& ctx, const Instance& instance) {
    const Registry::Mutation mutation(registry_, instance);
    Create create(engine_, ctx, config_, host_.installation(), instance, [&](const Patience& patience) {
        return find_container(engine_, patience, host_.installation(), instance.id);
    });
    const std::string container = create.run();
    registry_.set_container(instance.id, container);
    return {1, Value::object({{"container", container}})};
}

RuntimeState DockerRuntime::copy(Context& ctx, const Instance& instance, const Instance& source) {
    const Registry::Mutation mutation(registry_, instance);
    const Registry::Mutation pausing(registry_, source);
    const std::string from = container_of(Patience::of(ctx), source);
    const Value document = inspected(Patience::of(ctx), from);
    const bool running = facts_from_inspect(document).status == Status::running;
    Copy files(engine_, ctx, host_.installation(), instance.id);
    Instance made = instance;
    try {
        const auto importing = leftovers_.building(Patience::of(ctx));
        made.spec.image = files.run(from, running);
    } catch (...) {
        // An engine that was abandoned in the middle may still finish the image.
        if (!files.left_over().empty()) leftovers_.add({{image_kind, files.left_over()}});
        watcher_.tidy_up();
        throw;
    }
    Create create(engine_, ctx, config_, host_.installation(), made, [&](const Patience& patience) {
        return find_container(engine_, patience, host_.installation(), instance.id);
    });
    const std::string container = create.run(document["Config"]);
    registry_.set_container(instance.id, container);
    return {1, Value::object({{"container", container}, {"image", copy_image(instance.id)}})};
}

InstanceFacts DockerRuntime::start(Context& ctx, const Instance& instance) {
    const Registry::Mutation mutation(registry_, instance);
    const std::string container = container_of(Patience::of(ctx), instance);
    // Not cancelled in the middle: the engine would go on, and the instance has to be dead after a throw.
    Patience patience = Patience::of(ctx);
    patience.cancel_fd = -1;
    try {
        const Reply reply = engine_.call(patience, "POST", fmt::format("/containers/{}/start", container));
        if (!reply.ok() && reply.status != 304) throw start_refused(reply);
        ctx.check();
        InstanceFacts started = facts_from_inspect(inspected(patience, container));
        registry_.told(instance.id, started);
        return started;
    } catch (const Error& error) {
        try {
            kill_container(Patience::for_cleanup(3s), container);
        } catch (const Error& second) {
            ctx.log(LogLevel::warning, fmt::format("after a failed start: {}", second.what()));
        }
        throw;
    }
}

InstanceFacts DockerRuntime::stop(Context& ctx, const Instance& instance, milliseconds grace) {
    const Registry::Mutation mutation(registry_, instance);
    const std::string container = container_of(Patience::of(ctx), instance);
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(std::max(grace, 0ms));
    const auto post = [&](const std::string& what, milliseconds extra = 0ms) {
        return engine_.call(Patience::of(ctx), "POST", fmt::format("/containers/{}/{}", container, what), {},
                            extra);
    };
    const std::string stop = fmt::format("stop?t={}", seconds.count());
    Reply reply = post(stop, seconds);
    // Podman stops no container that is paused.
    if (reply.status == 500 && post("unpause").ok()) reply = post(stop, seconds);
    if (!reply.ok() && reply.status != 304) throw failure(reply, "the container cannot be stopped");
    return changed(ctx, instance, container);
}

void DockerRuntime::kill(Context& ctx, const Instance& instance) {
    const Registry::Mutation mutation(registry_, instance);
    std::string container;
    try {
        container = container_of(Patience::of(ctx), instance);
    } catch (const Error& error) {
        if (error.code() == Code::not_found) return;  // nothing is as dead as what is gone
        throw;
    }
    kill_container(Patience::of(ctx), container);
    changed(ctx, instance, container);
}

void DockerRuntime::kill_container(const Patience& patience, const std::string& container) {
    const Reply reply = engine_.call(patience, "POST", fmt::format("/containers/{}/kill", container));
    // 409: not running; Podman says so with 500.
    if (reply.ok() || reply.status == 404 || reply.status == 409) return;
    const std::string reason = reply.message();
    for (const auto* phrase : {"not running", "can only kill running containers"}) {
        if (reason.find(phrase) != std::string::npos) return;
    }
    throw failure(reply, "the container cannot be killed");
}

void DockerRuntime::destroy(Context& ctx, const Instance& instance) {
    {
        const Registry::Mutation mutation(registry_, instance);
        const Patience patience = Patience::of(ctx);
        const std::string known = registry_.container(instance.id);
        if (known.empty()) {
            remove_containers(engine_, patience, host_, instance.id);
        } else {
            remove_container(engine_, patience, host_, instance.id, known);
        }
    }
    registry_.forget(instance.id);
    ctx.journal().gone("container", instance.id);
    const auto image = instance.state ? instance.state->data["image"].string_or("") : std::string();
    if (image.empty()) return;
    remove_built_image(engine_, Patience::of(ctx), host_.installation(), image);
    ctx.journal().gone(image_kind, image);
}

InstanceFacts DockerRuntime::inspect(Context& ctx, const Instance& instance) {
    registry_.note(instance);
    const Patience patience = Patience::of(ctx);
    return facts_from_inspect(inspected(patience, container_of(patience, instance)));
}

void DockerRuntime::release(Context& ctx, const JournalRow& row) {
    const Patience patience = Patience::of(ctx);
    if (row.kind == "container") {
        remove_containers(engine_, patience, host_, row.key);
    } else if (row.kind == pause_kind) {
        end_pause(engine_, patience, host_.installation(), row.key);
    } else {
        remove_leftover(engine_, patience, host_.installation(), {row.kind, row.key});
    }
}

std::optional<InstanceFacts> DockerRuntime::recover(Context&, const Instance& instance) {
    registry_.note(instance);
    return std::nullopt;
}

void DockerRuntime::recovered(Context&) { watcher_.start(); }

std::string DockerRuntime::container_of(const Patience& patience, const Instance& instance) {
    if (instance.state) {
        const auto container = instance.state->data["container"].string_or("");
        if (!container.empty()) return container;
    }
    std::string container = registry_.container(instance.id);
    if (container.empty()) {
        container = find_container(engine_, patience, host_.installation(), instance.id);
    }
    if (container.empty()) {
        throw Error(Code::not_found, fmt::format("the container of instance '{}' is gone", instance.name),
                    "destroy the instance");
    }
    return container;
}

Value DockerRuntime::inspected(const Patience& patience, const std::string& container) {
    const Reply reply = engine_.call(patience, "GET", fmt::format("/containers/{}/json", container));
    if (reply.status == 404) {
        throw Error(Code::not_found, fmt::format("container {} is gone", container.substr(0, 12)),
                    "destroy the instance");
    }
    if (!reply.ok()) throw failure(reply, "the container cannot be inspected");
    return object_in(reply, "the container cannot be inspected");
}

InstanceFacts DockerRuntime::changed(Context& ctx, const Instance& instance, const std::string& container) {
    InstanceFacts now = facts_from_inspect(inspected(Patience::of(ctx), container));
    registry_.told(instance.id, now);
    return now;
}

}  // namespace minions::docker
