#include "tar_text.hpp"

#include <cstdio>

namespace minions::examples {
namespace {

/// FNV-1a: enough for an id that depends on the content.
std::string made_up_id(std::string_view content) {
    std::uint64_t hash = 14695981039346656037ULL;
    for (const char c : content) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    char text[32];
    std::snprintf(text, sizeof text, "null:%016llx", static_cast<unsigned long long>(hash));
    return text;
}

}  // namespace

BuildResult NullRuntime::build(Context& ctx, const BuildSpec& spec, Fd context, Fd log) {
    std::string archive;
    for (std::string piece = read_from(ctx, context); !piece.empty(); piece = read_from(ctx, context)) {
        archive += piece;
    }
    const auto entries = read_tar(archive);
    ctx.progress({.stage = "building", .message = "step 1 of 1", .done = 1, .total = 1});
    write_to(ctx, log,
             "step 1 of 1: context of " + std::to_string(archive.size()) + " bytes, " +
                 std::to_string(entries.size()) + " entries\n");
    misbehave(ctx, "build", spec.labels);
    if (!entries.contains(spec.dockerfile)) {
        const std::string line = "there is no '" + spec.dockerfile + "' in the context\n";
        write_to(ctx, log, line);
        throw Error(Code::failed, "the build failed: " + line.substr(0, line.size() - 1));
    }
    if (spec.max_bytes && archive.size() > static_cast<std::uint64_t>(*spec.max_bytes)) {
        throw Error(Code::too_large,
                    "the image is larger than " + std::to_string(*spec.max_bytes) + " bytes");
    }
    const auto row = ctx.journal().intend("image", spec.tag);
    const std::string id = made_up_id(archive);
    images_.lock()->insert_or_assign(spec.tag, id);
    row->held();
    write_to(ctx, log, "built " + id + "\n");
    return {id};
}

void NullRuntime::remove_image(Context& ctx, const std::string& image) {
    misbehave(ctx, "remove_image", {});
    std::vector<std::string> tags;
    {
        const auto images = images_.lock();
        for (const auto& [tag, id] : *images) {
            if (tag == image || id == image) tags.push_back(tag);
        }
    }
    const auto instances = instances_.lock();
    for (const auto& [id, instance] : *instances) {
        const std::string used = instance->spec.lock()->image;
        for (const auto& tag : tags) {
            if (used == tag || used == image) {
                throw Error(Code::conflict, "instance '" + id + "' uses the image '" + image + "'",
                            "destroy the instance first");
            }
        }
    }
    for (const auto& tag : tags) {
        images_.lock()->erase(tag);
        ctx.journal().gone("image", tag);
    }
}

std::size_t NullRuntime::image_count() const { return images_.lock()->size(); }

}  // namespace minions::examples
