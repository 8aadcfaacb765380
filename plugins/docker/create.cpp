#include "plugins/docker/create.hpp"

#include "plugins/docker/documents.hpp"
#include "plugins/docker/json_lines.hpp"
#include "plugins/docker/labels.hpp"

#include <fmt/format.h>

#include <optional>

namespace minions::docker {
namespace {

using namespace std::chrono_literals;

constexpr const char* get_an_image = "build it, load it into the engine, or name one that its registry has";

/// A refused create in words of the spec.
Error refused(const Reply& reply, const InstanceSpec& spec) {
    const std::string reason = reply.message();
    if (reply.status != 400 && reply.status != 500) return failure(reply, "the container cannot be made");
    if (reason.find("CPUs") != std::string::npos) {
        return {Code::invalid, "field 'cpus': " + reason, "ask for fewer CPUs"};
    }
    if (reason.find("emory limit") != std::string::npos)
        return {Code::invalid, "field 'memory_mb': " + reason};
    if (reason.find("No command specified") != std::string::npos) {
        return {Code::invalid,
                fmt::format("field 'command': the image '{}' has no command of its own", spec.image),
                "name the command to run"};
    }
    if (reason.find("invalid reference format") != std::string::npos) {
        return {Code::invalid, fmt::format("field 'image': '{}' is no image name", spec.image)};
    }
    return failure(reply, "the container cannot be made");
}

/// Podman says it with 500.
bool name_taken(const Reply& reply) {
    return reply.status == 409 || reply.message().find("already in use") != std::string::npos;
}

/// What engines say when a registry does not answer; all else about a pull is about the image.
constexpr std::string_view unreachable[] = {
    "dial tcp",         "no such host",       "connection refused",    "i/o timeout",
    "Client.Timeout",   "deadline exceeded",  "TLS handshake timeout", "unexpected EOF",
    "toomanyrequests",  "server misbehaving", "no route to host",      "network is unreachable",
    "connection reset",
};

Error pull_failed(const Reply& reply, const std::string& image) {
    const std::string reason = reply.message();
    const Error error =
        failure(reply, fmt::format("the image '{}' is not on this host and cannot be pulled", image));
    if (error.code() == Code::no_space || error.code() == Code::unavailable) return error;
    for (const auto phrase : unreachable) {
        if (reason.find(phrase) == std::string::npos) continue;
        return {Code::unavailable, error.message(),
                "let the engine reach the image's registry and try again, or load the image into the engine",
                true};
    }
    return {Code::not_found, error.message(), get_an_image};
}

}  // namespace

Create::Create(Engine& engine, Context& context, const Config& config, const std::string& installation,
               const Instance& instance, std::function<std::string(const Patience&)> find)
    : engine_(engine),
      context_(context),
      config_(config),
      installation_(installation),
      instance_(instance),
      find_(std::move(find)) {}

std::string Create::run(const Value& like) {
    document_ = container_document(config_, instance_, label::for_container(installation_, instance_));
    if (!like.is_null()) take_configuration(document_, like, instance_.spec);
    auto row = context_.journal().intend("container", instance_.id);
    // The engine wants two characters at least.
    std::string id = post(instance_.name.size() > 1 ? instance_.name : instance_.name + "-" + instance_.id);
    row->held();
    return id;
}

/// The request itself is not cancelled: it takes milliseconds, and an engine that is abandoned in the middle
/// of it may make the container after destroy() has looked for it.
std::string Create::post(const std::string& name) {
    context_.check();
    Patience patience = Patience::of(context_);
    patience.cancel_fd = -1;
    std::optional<Reply> reply;
    try {
        reply = engine_.call(patience, "POST", "/containers/create?name=" + encoded(name), document_);
    } catch (const Error& error) {
        if (error.code() != Code::unavailable) throw;
        // The answer may be lost, and not the container.
        std::string found;
        try {
            found = find_(patience.at_most(5s));
        } catch (const Error&) {
            throw error;
        }
        if (found.empty()) throw;
        return found;
    }
    if (reply->ok()) {
        const auto id = reply->document()["Id"].string_or("");
        if (id.empty()) throw Error(Code::internal, "the engine answered a create without an id");
        return id;
    }
    if (name_taken(*reply)) return resolve_conflict(*reply);
    const bool no_image = reply->status == 404 && reply->message().find("mage") != std::string::npos;
    if (!no_image || pulled_) throw refused(*reply, instance_.spec);
    pull();
    return post(name);
}

/// The name is taken: by what an earlier attempt made, by another of our instances, or by a stranger.
std::string Create::resolve_conflict(const Reply& conflict) {
    const Patience patience = Patience::of(context_);
    if (auto own = find_(patience); !own.empty()) return own;
    const Reply reply =
        engine_.call(patience, "GET", fmt::format("/containers/{}/json", encoded(instance_.name)));
    if (!reply.ok()) throw Error(Code::conflict, "the container cannot be made: " + conflict.message());
    const Value document = reply.document();
    const Value& labels = document["Config"]["Labels"];
    const std::string second_name = fmt::format("{}-{}", instance_.name, instance_.id);
    if (label::is_ours(labels, installation_) && conflict.message().find(second_name) == std::string::npos) {
        return post(second_name);  // names are unique per owner, and this is another owner's
    }
    throw Error(Code::conflict,
                fmt::format("the container name '{}' is taken by container {}, which minions did not make",
                            instance_.name, document["Id"].string_or("").substr(0, 12)),
                "choose another name, or remove that container");
}

void Create::pull() {
    pulled_ = true;
    const std::string& image = instance_.spec.image;
    const auto reference = pullable(image);
    const auto missing = [&](const std::string& why) {
        return Error(Code::not_found, fmt::format("the image '{}' is not on this host{}", image, why),
                     get_an_image);
    };
    if (!reference) throw missing("");
    if (!config_.pull) throw missing(", and runtimes.docker.pull is off");
    context_.progress({"pulling", image, std::nullopt, std::nullopt});
    const Patience patience = Patience::of(context_);
    Incoming incoming = engine_.open(
        patience, "POST",
        fmt::format("/images/create?fromImage={}&tag={}", encoded(reference->name), encoded(reference->tag)));
    if (incoming.status() != 200) {
        throw pull_failed({incoming.status(), incoming.rest()}, image);
    }
    std::optional<std::string> error;
    JsonLines lines([&](const Value& message) {
        if (const Value* said = message.find("error")) error = said->string_or("unknown error");
        const auto status = message["status"].string_or("");
        if (status.empty()) return;
        Progress progress{"pulling", status, std::nullopt, std::nullopt};
        if (const auto id = message["id"].string_or(""); !id.empty()) progress.message = id + ": " + status;
        if (const auto* done = message["progressDetail"]["current"].if_int()) progress.done = *done;
        if (const auto* total = message["progressDetail"]["total"].if_int()) progress.total = *total;
        context_.progress(progress);
    });
    for (auto bytes = incoming.read(); !bytes.empty(); bytes = incoming.read()) {
        lines.feed(bytes);
    }
    lines.finish();
    if (error) throw pull_failed({500, *error}, image);
}

}  // namespace minions::docker
