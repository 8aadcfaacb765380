#pragma once

#include <minions/codec.hpp>
#include <minions/value.hpp>

#include <map>
#include <string>
#include <vector>

namespace minions::core {

/// Files of an image beside its manifest.
inline constexpr const char* disk_file = "disk.raw";
inline constexpr const char* kernel_file = "kernel";
inline constexpr const char* initramfs_file = "initramfs";
inline constexpr const char* manifest_file = "manifest.json";

struct ImagePackage {
    std::string name;
    std::string version;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("name", self.name);
        visit("version", self.version);
    }
};

/// What an image says of itself: manifest.json, written by a recipe or an import.
struct ImageManifest {
    std::int64_t format = 1;
    std::string recipe;  ///< "import" for a disk of somebody's
    Value arguments;     ///< what it was made with
    std::string created;
    std::string agent;                         ///< version of the agent in the initramfs
    std::string kernel;                        ///< its release
    std::string command_line;                  ///< of the kernel, without console; names the root device
    std::map<std::string, std::string> files;  ///< SHA-256 of disk, kernel and initramfs, lower-case hex
    std::vector<ImagePackage> packages;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("format", self.format, Field{.required = true});
        visit("recipe", self.recipe, Field{.required = true});
        visit("arguments", self.arguments);
        visit("created", self.created);
        visit("agent", self.agent);
        visit("kernel", self.kernel);
        visit("command_line", self.command_line, Field{.required = true});
        visit("files", self.files, Field{.required = true});
        visit("packages", self.packages);
    }
};

/// Throws Error{failed} for what is no manifest of a format that is known, or names other files.
ImageManifest read_manifest(const std::string& text);

/// "sha256:…" over the hashes of the files and the command line: what a guest gets, and not when or of what
/// it was made.
std::string content_id(const ImageManifest& manifest);

}  // namespace minions::core
