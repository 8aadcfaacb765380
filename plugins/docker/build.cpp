#include "plugins/docker/build.hpp"

#include "plugins/docker/build_log.hpp"
#include "plugins/docker/documents.hpp"
#include "plugins/docker/labels.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace minions::docker {
namespace {

using namespace std::chrono_literals;

Value object_of(const std::map<std::string, std::string>& pairs) {
    Value object = Value::object();
    for (const auto& [key, value] : pairs) object.set(key, value);
    return object;
}

/// The image that a tag names now; empty if none.
std::string image_id(Engine& engine, const Patience& patience, const std::string& tag) {
    const Reply reply = engine.call(patience, "GET", fmt::format("/images/{}/json", encoded(tag)));
    if (reply.status == 404) return {};
    if (!reply.ok()) throw failure(reply, fmt::format("the image '{}' cannot be inspected", tag));
    return reply.document()["Id"].string_or("");
}

}  // namespace

Build::Build(Engine& engine, Context& context, const std::string& installation, const BuildSpec& spec)
    : engine_(engine), context_(context), installation_(installation), spec_(spec) {}

/// Without a name for the image: an engine that is abandoned in the last step would still give it, later.
std::string Build::path() {
    const auto labels = to_json(object_of(label::for_image(installation_, spec_)));
    std::string path = fmt::format("/build?rm=1&forcerm=1&dockerfile={}&labels={}", encoded(spec_.dockerfile),
                                   encoded(labels));
    // Podman shows the containers of steps to nobody, and never removes the layers that it keeps as a cache.
    const bool podman = engine_.spoken(Patience::of(context_)).podman;
    path += podman ? "&layers=false" : "&extrahosts=" + encoded(step_mark(installation_));
    if (spec_.memory_mb) {
        const auto bytes = *spec_.memory_mb * 1024 * 1024;
        path += fmt::format("&memory={}&memswap={}", bytes, bytes);
    }
    if (!spec_.network) path += "&networkmode=none";
    return path;
}

BuildResult Build::run(Fd source, Fd log) {
    const NoSigpipe no_sigpipe;
    auto row = context_.journal().intend(image_kind, spec_.tag);
    bool log_open = static_cast<bool>(log);
    try {
        Incoming incoming = engine_.upload(Patience::of(context_), "POST", path(), source.get());
        source.reset();
        image_ = receive(incoming, log.get(), log_open);
        give_name();
        keep_layers();
        row->held();
        return {image_};
    } catch (...) {
        // The connection is closed by now, which is how the engine learns that nobody wants the build.
        source.reset();
        clean_up();
        throw;
    }
}

/// Returns the image.
std::string Build::receive(Incoming& incoming, int log, bool& log_open) {
    const Patience patience = Patience::of(context_);
    if (incoming.status() != 200) {
        const Reply reply{incoming.status(), incoming.rest()};
        const Error error = failure(reply, "the image cannot be built");
        // A Dockerfile that cannot be read is a failed build, not a request that makes no sense.
        if (error.code() == Code::invalid || error.code() == Code::not_found) {
            throw Error(Code::failed, error.message(), "correct the Dockerfile")
                .with("log", reply.message() + "\n");
        }
        throw error;
    }
    BuildLog reader({
        [&](std::string_view text) { log_open = log_open && write_patiently(log, text, patience); },
        [&](const Progress& progress) { context_.progress(progress); },
        [&](std::string_view id) {
            note(layer_kind, id);
            check_size(std::string(id));
        },
        [&](std::string_view id) { note(step_kind, id); },
    });
    for (auto bytes = incoming.read(); !bytes.empty(); bytes = incoming.read()) {
        reader.feed(bytes);
    }
    reader.finish();
    if (reader.failure()) {
        const Error error = failure(Reply{500, *reader.failure()}, "the image cannot be built");
        throw Error(error.code(), error.message(),
                    error.hint().empty() ? "the build's log says more" : error.hint(), error.retryable())
            .with("log", reader.tail());
    }
    // An engine that was killed ends its stream just like one that is done.
    if (reader.image().empty()) {
        throw Error(Code::unavailable,
                    "the build ended without a result: the engine went away or was restarted", "try again",
                    true)
            .with("log", reader.tail());
    }
    check_size(reader.image());
    return reader.image();
}

void Build::give_name() {
    const auto name = pullable(spec_.tag);
    if (!name) throw Error(Code::invalid, fmt::format("'{}' is no name for an image", spec_.tag));
    const Reply reply = engine_.call(Patience::of(context_), "POST",
                                     fmt::format("/images/{}/tag?repo={}&tag={}", encoded(image_),
                                                 encoded(name->name), encoded(name->tag)));
    if (!reply.ok()) throw failure(reply, fmt::format("the image cannot be named '{}'", spec_.tag));
}

/// The engine has no limit of its own for what a step writes, so that this comes after the fact; the next
/// step does not begin.
void Build::check_size(const std::string& image) {
    if (!spec_.max_bytes) return;
    const Reply reply =
        engine_.call(Patience::of(context_), "GET", fmt::format("/images/{}/json", encoded(image)));
    if (reply.status == 404) return;  // an id that a step's command printed
    if (!reply.ok()) throw failure(reply, fmt::format("the image '{}' cannot be inspected", image));
    const Value document = reply.document();
    const std::int64_t* size = document["Size"].if_int();
    if (size == nullptr || *size <= *spec_.max_bytes) return;
    throw Error(Code::too_large, fmt::format("the image is larger than {} MiB", *spec_.max_bytes >> 20U),
                "the setting deployments.max_image_bytes can allow more");
}

void Build::note(const char* kind, std::string_view id) {
    const auto same = [&](const Leftover& leftover) { return leftover.key == id; };
    if (std::any_of(leftovers_.begin(), leftovers_.end(), same)) return;
    context_.journal().intend(kind, id)->held();
    leftovers_.push_back({kind, std::string(id)});
}

/// What a successful build made on the way is part of its image.
void Build::keep_layers() noexcept {
    for (const auto& leftover : leftovers_) {
        try {
            context_.journal().gone(leftover.kind, leftover.key);
        } catch (const std::exception& error) {
            context_.log(LogLevel::warning, fmt::format("journal: {}", error.what()));
        }
    }
}

/// Newest first. The engine may still be busy with ending the build, so this takes a few attempts; what does
/// not go now keeps its row.
void Build::clean_up() noexcept {
    // It has no name before there is an image to give it to.
    if (!image_.empty()) leftovers_.push_back({image_kind, spec_.tag});
    try {
        const Patience patience = Patience::for_cleanup(15s);
        if (image_.empty()) context_.journal().gone(image_kind, spec_.tag);
        while (!leftovers_.empty()) {
            const Leftover& newest = leftovers_.back();
            // The name may still be another image's.
            if (newest.kind != image_kind || image_id(engine_, patience, newest.key) == image_)
                remove_leftover(engine_, patience, installation_, newest);
            context_.journal().gone(newest.kind, newest.key);
            leftovers_.pop_back();
        }
    } catch (const std::exception& error) {
        context_.log(LogLevel::warning, fmt::format("what the build of '{}' left is not removed yet: {}",
                                                    spec_.tag, error.what()));
    }
}

}  // namespace minions::docker
