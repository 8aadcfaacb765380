#pragma once

#include "core/images/image_store.hpp"
#include "tests/unit/core/store/temporary_directory.hpp"

#include <minions/base/spawn.hpp>
#include <minions/error.hpp>

#include <catch2/catch.hpp>
#include <fcntl.h>

#include <fstream>
#include <set>

namespace minions::core::test {

namespace fs = std::filesystem;

template <class Fn>
Error error_of(Fn&& fn) {
    try {
        fn();
    } catch (const Error& error) {
        return error;
    }
    FAIL("nothing was thrown");
    return {Code::internal, ""};
}

/// Runs a program of the test's; its output is what it is compared by.
inline std::string output_of(std::vector<std::string> argv) {
    SpawnOptions options;
    options.argv = std::move(argv);
    options.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
    options.cwd = "/";
    const RunResult result = run(std::move(options), {deadline_in(std::chrono::seconds(60)), 16U << 20U});
    INFO(result.err);
    REQUIRE(result.success());
    return result.out;
}

/// A recipe that makes an image of three words in a moment.
constexpr const char* quick_recipe = R"sh(#!/bin/sh
set -eu
output=$2
echo "progress 0 2 writing"
for file in disk.raw kernel initramfs; do printf '%s of quick' "$file" >"$output/$file"; done
hash() { sha256sum "$output/$1" | cut -d ' ' -f 1; }
cat >"$output/manifest.json" <<EOF
{"format": 1, "recipe": "quick", "command_line": "root=/dev/vda rw minions.init=/sbin/init quiet",
 "files": {"disk.raw": "$(hash disk.raw)", "kernel": "$(hash kernel)", "initramfs": "$(hash initramfs)"},
 "packages": [{"name": "a", "version": "1"}]}
EOF
echo "progress 2 2 done"
)sh";

/// A store of images with recipes of its own.
struct ImageWorld {
    TemporaryDirectory directory;
    fs::path top = directory.path() / "images";
    fs::path recipes = directory.path() / "recipes";
    std::string default_name;
    Store store{directory.path() / "state"};
    Operations operations{store};
    std::unique_ptr<ImageStore> images;

    ImageWorld() {
        fs::create_directory(recipes);
        recipe("quick", quick_recipe);
        open();
    }
    void open() {
        ImageStoreOptions options;
        options.directory = top;
        options.recipes = recipes;
        options.agent = "/bin/true";
        options.max_bytes = 64U << 20U;
        options.default_name = [this] { return default_name; };
        options.instance_name = [](const std::string& id) { return "name-of-" + id; };
        images = std::make_unique<ImageStore>(store, operations, options);
    }
    void recipe(const std::string& name, const std::string& text) const {
        const fs::path path = recipes / (name + ".sh");
        std::ofstream(path) << text;
        fs::permissions(path, fs::perms::owner_all);
    }
    Value build(const std::string& name, const std::string& with = "quick") {
        ImageBuildSpec spec;
        spec.recipe = with;
        return images->build(name, spec)->wait();
    }
    Value import(const std::string& name, const std::string& bytes, ImportSpec spec = {}) {
        auto upload = images->upload();
        upload->write(bytes);
        return images->import(name, std::move(upload), std::move(spec))->wait();
    }
    VmImage acquire(const std::string& instance, const std::string& name) {
        return images->for_call(instance)->acquire(name);
    }
    /// Names below the images' directory.
    std::set<std::string> files() const {
        std::set<std::string> names;
        for (const auto& entry : fs::directory_iterator(top)) names.insert(entry.path().filename());
        return names;
    }
    std::size_t journal_rows() {
        return store.transact([](Transaction& transaction) { return transaction.journal(); }).size();
    }
};

inline std::string contents(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// The first block of a disk with a partition table, and some more.
inline std::string raw_disk(std::size_t bytes = 8192) {
    std::string disk(bytes, 'x');
    disk[510] = '\x55';
    disk[511] = '\xaa';
    return disk;
}

}  // namespace minions::core::test
