#include "core/images/manifest.hpp"

#include "core/access/token.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace minions::core {

namespace {

bool is_hash(const std::string& text) {
    return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

ImageManifest read_manifest(const std::string& text) {
    ImageManifest manifest;
    try {
        manifest = decode<ImageManifest>(parse_json(text), Unknown::ignore);
    } catch (const Error& error) {
        throw Error{Code::failed, fmt::format("the image's manifest is none: {}", error.message())};
    }
    if (manifest.format != 1)
        throw Error{Code::failed, fmt::format("the image's manifest has format {}", manifest.format),
                    "a newer version of minions made it"};
    const auto named = [&](const char* file) {
        const auto found = manifest.files.find(file);
        return found != manifest.files.end() && is_hash(found->second);
    };
    if (manifest.files.size() != 3 || !named(disk_file) || !named(kernel_file) || !named(initramfs_file))
        throw Error{Code::failed, "the image's manifest does not tell the hashes of its three files"};
    return manifest;
}

std::string content_id(const ImageManifest& manifest) {
    std::string text = "command_line " + manifest.command_line + "\n";
    for (const auto& [name, hash] : manifest.files) text += fmt::format("{} {}\n", name, hash);
    return "sha256:" + hash_token(text);
}

}  // namespace minions::core
