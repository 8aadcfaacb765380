#include "plugins/docker/removal.hpp"

#include "plugins/docker/documents.hpp"
#include "plugins/docker/labels.hpp"

#include <minions/base/deadline.hpp>

#include <fmt/format.h>

#include <poll.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

namespace minions::docker {
namespace {

using namespace std::chrono_literals;

constexpr int most_attempts = 20;

void pause(const Patience& patience, milliseconds span) {
    pollfd cancel{patience.cancel_fd, POLLIN, 0};
    poll_until(&cancel, 1, std::min(patience.deadline, deadline_in(span)));
    if (cancel.revents != 0) throw Error(Code::cancelled, "the call was cancelled");
    if (Deadline::clock::now() >= patience.deadline) {
        throw Error(Code::deadline, "the engine has not removed it in time", {}, true);
    }
}

bool has_name(const Value& image) {
    const auto* tags = image["RepoTags"].if_array();
    return tags != nullptr && !tags->empty() && tags->front().string_or("") != "<none>:<none>";
}

/// Takes one name of an image, and the image with its last one. Removals of images that share layers get in
/// each other's way inside the engine, which then fails one of them for no lasting reason: those are tried
/// again.
void remove_name(Engine& engine, const Patience& patience, const std::string& image,
                 const std::string& name) {
    for (int attempt = 0;; ++attempt) {
        const Reply reply = engine.call(patience, "DELETE", fmt::format("/images/{}", encoded(name)));
        if (reply.ok() || reply.status == 404) return;
        const std::string message = reply.message();
        if (reply.status == 409 && message.find("container") != std::string::npos) {
            throw Error(Code::conflict, fmt::format("the image '{}' is in use: {}", image, message),
                        "destroy the instances that use it first");
        }
        const bool passing = reply.status == 409 || message.find("unrecognized image") != std::string::npos ||
                             message.find("No such image") != std::string::npos;
        if (!passing || attempt >= most_attempts)
            throw failure(reply, fmt::format("the image '{}' cannot be removed", image));
        pause(patience, 50ms);
    }
}

bool remove_layer(Engine& engine, const Patience& patience, const std::string& id);

/// Children of a layer were made by a step of which the build was cut off before it could tell, or by another
/// build, which took the layer from the cache. Returns false if one of them belongs to an image that is kept.
bool remove_children(Engine& engine, const Patience& patience, const std::string& parent) {
    bool removed = true;
    for (const auto& image : engine.list(patience, "the images cannot be listed", "/images/json?all=1")) {
        if (image["ParentId"].string_or("") != parent) continue;
        if (has_name(image) || !remove_layer(engine, patience, image["Id"].string_or(""))) removed = false;
    }
    return removed;
}

/// Returns false if the layer is part of an image that is kept, and goes with that.
bool remove_layer(Engine& engine, const Patience& patience, const std::string& id) {
    const Reply found = engine.call(patience, "GET", fmt::format("/images/{}/json", id));
    if (found.status == 404) return true;
    if (!found.ok()) throw failure(found, "a layer of a build cannot be inspected");
    const Value document = object_in(found, "a layer of a build cannot be inspected");
    // Named images are never leftovers; neither is a base image, which has no parent.
    if (has_name(document) || document["Parent"].string_or("").empty()) return false;
    bool children_asked = false;
    for (int attempt = 0;; ++attempt) {
        const Reply reply = engine.call(patience, "DELETE", fmt::format("/images/{}?noprune=1", id));
        if (reply.ok() || reply.status == 404) return true;
        if (reply.status != 409) throw failure(reply, "a layer of a build cannot be removed");
        const bool has_children = reply.message().find("dependent child") != std::string::npos;
        if (has_children && !std::exchange(children_asked, true)) {
            if (!remove_children(engine, patience, document["Id"].string_or(id))) return false;
            continue;
        }
        // By a step that is just ending, or by another build.
        if (attempt >= most_attempts) throw failure(reply, "a layer of a build is in use");
        pause(patience, 100ms);
    }
}

/// A step's command can print what the builder prints, so an id may be that of anybody's container.
void remove_step(Engine& engine, const Patience& patience, const std::string& installation,
                 const std::string& id) {
    const Reply found = engine.call(patience, "GET", fmt::format("/containers/{}/json", id));
    if (found.status == 404) return;
    if (!found.ok()) throw failure(found, "a build's container cannot be inspected");
    const Value document = object_in(found, "a build's container cannot be inspected");
    const std::string mark = step_mark(installation);
    const auto* hosts = document["HostConfig"]["ExtraHosts"].if_array();
    const bool ours = hosts != nullptr && std::any_of(hosts->begin(), hosts->end(), [&](const Value& host) {
                          return host.string_or("") == mark;
                      });
    if (!ours) return;
    const Reply reply = engine.call(patience, "DELETE", fmt::format("/containers/{}?force=1&v=1", id));
    if (reply.ok() || reply.status == 404 || reply.status == 409) return;
    throw failure(reply, "a build's container cannot be removed");
}

/// Returns how many went.
int sweep_images(Engine& engine, const Patience& patience, const std::string& installation) {
    const auto images = engine.list(patience, "the images cannot be listed",
                                    "/images/json?all=1&filters=" + encoded(label::filter(installation)));
    std::set<std::string> parents;
    for (const auto& image : images) parents.insert(image["ParentId"].string_or(""));
    int removed = 0;
    for (const auto& image : images) {
        const std::string id = image["Id"].string_or("");
        // Not every engine honours the filter.
        if (!label::is_ours(image["Labels"], installation) || has_name(image) || parents.contains(id)) {
            continue;
        }
        const Reply reply = engine.call(patience, "DELETE", fmt::format("/images/{}?noprune=1", encoded(id)));
        if (reply.ok()) ++removed;
        if (!reply.ok() && reply.status != 404 && reply.status != 409) {
            throw failure(reply, "what a build left cannot be removed");
        }
    }
    return removed;
}

}  // namespace

std::string find_container(Engine& engine, const Patience& patience, const std::string& installation,
                           const std::string& instance) {
    const auto containers =
        engine.list(patience, "the containers cannot be listed",
                    "/containers/json?all=1&filters=" + encoded(label::filter(installation, instance)));
    for (const auto& element : containers) {
        const Value& labels = element["Labels"];
        if (label::is_ours(labels, installation) && labels[label::instance].string_or("") == instance) {
            return element["Id"].string_or("");
        }
    }
    return {};
}

void remove_container(Engine& engine, const Patience& patience, Host& host, const std::string& instance,
                      const std::string& container) {
    const std::string path = fmt::format("/containers/{}", container);
    for (milliseconds span = 10ms;; span = std::min(span * 2, 500ms)) {
        const Reply found = engine.call(patience, "GET", path + "/json");
        if (found.status == 404) return;
        if (!found.ok()) throw failure(found, "the container cannot be inspected");
        const Value document = object_in(found, "the container cannot be inspected");
        const Value& labels = document["Config"]["Labels"];
        if (!label::is_ours(labels, host.installation()) ||
            labels[label::instance].string_or("") != instance) {
            host.log(LogLevel::warning, fmt::format("container {} is not instance {}'s: it stays",
                                                    container.substr(0, 12), instance));
            return;
        }
        const Reply reply = engine.call(patience, "DELETE", path + "?force=1&v=1");
        if (reply.ok() || reply.status == 404) return;
        // 409: somebody else's removal is under way; the loop sees its end.
        if (reply.status != 409) throw failure(reply, "the container cannot be removed");
        pause(patience, span);
    }
}

void remove_containers(Engine& engine, const Patience& patience, Host& host, const std::string& instance) {
    for (;;) {
        const std::string container = find_container(engine, patience, host.installation(), instance);
        if (container.empty()) return;
        remove_container(engine, patience, host, instance, container);
    }
}

bool remove_built_image(Engine& engine, const Patience& patience, const std::string& installation,
                        const std::string& image) {
    const std::string failed = fmt::format("the image '{}' cannot be inspected", image);
    const Reply found = engine.call(patience, "GET", fmt::format("/images/{}/json", encoded(image)));
    if (found.status == 404) return true;
    if (!found.ok()) throw failure(found, failed);
    const Value document = object_in(found, failed);
    if (!label::is_ours(document["Config"]["Labels"], installation)) return false;
    // By id an image goes with all its names; they are taken one by one, so that nothing needs force.
    std::vector<std::string> names;
    const bool by_id = pullable(image) == std::nullopt;
    if (const auto* tags = document["RepoTags"].if_array(); by_id && tags != nullptr) {
        for (const auto& tag : *tags) names.push_back(tag.string_or(""));
    }
    if (names.empty()) names.push_back(image);
    for (const auto& name : names) remove_name(engine, patience, image, name);
    return true;
}

void remove_leftover(Engine& engine, const Patience& patience, const std::string& installation,
                     const Leftover& leftover) {
    if (leftover.kind == image_kind) {
        remove_built_image(engine, patience, installation, leftover.key);
    } else if (leftover.kind == layer_kind) {
        remove_layer(engine, patience, leftover.key);
    } else if (leftover.kind == step_kind) {
        remove_step(engine, patience, installation, leftover.key);
    } else {
        throw Error(Code::invalid,
                    fmt::format("the runtime docker has no journal rows of kind '{}'", leftover.kind));
    }
}

void sweep_steps(Engine& engine, const Patience& patience, const std::string& installation) {
    const auto containers =
        engine.list(patience, "the containers cannot be listed",
                    "/containers/json?all=1&filters=" + encoded(label::filter(installation)));
    for (const auto& element : containers) {
        const Value& labels = element["Labels"];
        if (!label::is_ours(labels, installation) || !labels[label::instance].is_null()) continue;
        remove_step(engine, patience, installation, element["Id"].string_or(""));
    }
}

void sweep_layers(Engine& engine, const Patience& patience, const std::string& installation) {
    // Each round takes the newest layers and bares those below.
    while (sweep_images(engine, patience, installation) > 0) {
    }
}

std::string step_mark(const std::string& installation) {
    return fmt::format("build.{}.minions.invalid:127.0.0.1", installation);
}

}  // namespace minions::docker
