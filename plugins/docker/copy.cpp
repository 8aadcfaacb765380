#include "plugins/docker/copy.hpp"

#include "plugins/docker/documents.hpp"
#include "plugins/docker/json_lines.hpp"
#include "plugins/docker/labels.hpp"

#include <minions/base/failpoint.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace minions::docker {
namespace {

using namespace std::chrono_literals;

/// A tar's end. An engine that fails in the middle of an export ends its answer as if it were whole.
constexpr std::size_t tar_end = 1024;

/// An export as the body of another request. Throws failed at its end unless that is the end of a tar.
class Pipe {
  public:
    Pipe(Incoming& from, Context& context) : from_(from), context_(context) {}

    std::size_t read(char* data, std::size_t size) {
        if (pending_.empty()) {
            pending_ = from_.read();
            watch(pending_);
        }
        if (pending_.empty() && zeros_ < tar_end) {
            throw Error(Code::failed,
                        "the container's files cannot be exported: the engine stopped in the middle",
                        "look at the engine's log");
        }
        const std::size_t some = std::min(size, pending_.size());
        std::memcpy(data, pending_.data(), some);
        pending_.remove_prefix(some);
        return some;
    }

  private:
    void watch(std::string_view bytes) {
        const auto last = bytes.find_last_not_of('\0');
        zeros_ = last == std::string_view::npos ? zeros_ + bytes.size() : bytes.size() - last - 1;
        bytes_ += static_cast<std::int64_t>(bytes.size());
        if (bytes_ - told_ < std::int64_t{16} << 20U) return;
        told_ = bytes_;
        context_.progress({"copying", "files", bytes_, std::nullopt});
    }

    Incoming& from_;
    Context& context_;
    std::string_view pending_;
    std::size_t zeros_ = 0;  ///< at the end of what came so far
    std::int64_t bytes_ = 0;
    std::int64_t told_ = 0;
};

/// The image that an import's answer tells.
std::string imported(Incoming& incoming) {
    const char* failed = "the container's files cannot be imported";
    if (incoming.status() != 200) throw failure({incoming.status(), incoming.rest()}, failed);
    std::string image;
    std::optional<std::string> error;
    JsonLines lines([&](const Value& message) {
        if (const Value* said = message.find("error")) error = said->string_or("unknown error");
        if (auto status = message["status"].string_or(""); !status.empty() && !pullable(status))
            image = std::move(status);
    });
    for (auto bytes = incoming.read(); !bytes.empty(); bytes = incoming.read()) lines.feed(bytes);
    lines.finish();
    if (error) throw failure({500, *error}, failed);
    if (image.empty()) {
        throw Error(Code::unavailable, fmt::format("{}: the engine went away or was restarted", failed),
                    "try again", true);
    }
    return image;
}

}  // namespace

std::string copy_image(const std::string& instance) {
    return fmt::format("minions-copy-{}:latest", instance);
}

Copy::Copy(Engine& engine, Context& context, const std::string& installation, const std::string& instance)
    : engine_(engine), context_(context), installation_(installation), name_(copy_image(instance)) {}

std::string Copy::run(const std::string& container, bool running) {
    auto row = context_.journal().intend(image_kind, name_);
    try {
        if (running) pause(container);
        transfer(container);
        if (running) resume(container);
        give_name();
        row->held();
        return image_;
    } catch (...) {
        clean_up(running ? container : std::string());
        throw;
    }
}

void Copy::pause(const std::string& container) {
    auto row = context_.journal().intend(pause_kind, container);
    MINIONS_FAILPOINT("copy.pause.before");
    const Reply reply =
        engine_.call(Patience::of(context_), "POST", fmt::format("/containers/{}/pause", container));
    if (!reply.ok()) throw failure(reply, "the container cannot be paused to copy its files");
    row->held();
    MINIONS_FAILPOINT("copy.pause.after");
}

void Copy::resume(const std::string& container) {
    // Whoever gives the copy up wants this just as well.
    end_pause(engine_, Patience::for_cleanup(15s), installation_, container);
    context_.journal().gone(pause_kind, container);
}

/// Without a name: an engine that is abandoned would still give it, after everybody has looked for it.
void Copy::transfer(const std::string& container) {
    const Patience patience = Patience::of(context_);
    Incoming files = engine_.open(patience, "GET", fmt::format("/containers/{}/export", container),
                                  Engine::Head::whenever);
    if (files.status() != 200) {
        throw failure({files.status(), files.rest()}, "the container's files cannot be exported");
    }
    Pipe pipe(files, context_);
    const std::string mark = fmt::format("LABEL {}={}", label::installation, installation_);
    Incoming answer = engine_.upload(patience, "POST", "/images/create?fromSrc=-&changes=" + encoded(mark),
                                     [&](char* data, std::size_t size) { return pipe.read(data, size); });
    image_ = imported(answer);
    MINIONS_FAILPOINT("copy.import.after");
}

void Copy::give_name() {
    const auto name = pullable(name_);
    const Reply reply = engine_.call(Patience::of(context_), "POST",
                                     fmt::format("/images/{}/tag?repo={}&tag={}", encoded(image_),
                                                 encoded(name->name), encoded(name->tag)));
    if (!reply.ok()) throw failure(reply, "the image of the copy cannot be named");
    MINIONS_FAILPOINT("copy.name.after");
}

/// What does not go now keeps its row.
void Copy::clean_up(const std::string& paused) noexcept {
    const auto attempt = [&](auto&& work) {
        try {
            work();
        } catch (const std::exception& error) {
            context_.log(LogLevel::warning, fmt::format("after a failed copy: {}", error.what()));
        }
    };
    if (!paused.empty()) attempt([&] { resume(paused); });
    if (image_.empty()) return;
    attempt([&] {
        remove_built_image(engine_, Patience::for_cleanup(15s), installation_, image_);
        image_.clear();
    });
}

void end_pause(Engine& engine, const Patience& patience, const std::string& installation,
               const std::string& container) {
    const char* failed = "the container that was paused for a copy cannot be resumed";
    const Reply found = engine.call(patience, "GET", fmt::format("/containers/{}/json", container));
    if (found.status == 404) return;
    if (!found.ok()) throw failure(found, failed);
    const Value document = object_in(found, failed);
    if (!label::is_ours(document["Config"]["Labels"], installation) ||
        facts_from_inspect(document).status != Status::paused) {
        return;
    }
    const Reply reply = engine.call(patience, "POST", fmt::format("/containers/{}/unpause", container));
    if (!reply.ok() && reply.status != 404 && reply.status != 409) throw failure(reply, failed);
}

}  // namespace minions::docker
