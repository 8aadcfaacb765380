#include "core/deployments/tree_size.hpp"

#include "core/deployments/git.hpp"
#include "tests/unit/core/deployments/support.hpp"

#include <minions/base/files.hpp>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;

namespace {

constexpr std::uint64_t plenty = std::uint64_t{1} << 40U;

/// Directories of this name in each other below `top`; the innermost.
Fd nest(const std::filesystem::path& top, const std::string& name, int levels) {
    Fd at(::open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (int level = 0; level < levels; ++level) {
        REQUIRE(::mkdirat(at.get(), name.c_str(), 0755) == 0);
        at = open_beneath(at.get(), name, O_RDONLY | O_DIRECTORY);
    }
    return at;
}

void put(int directory, const std::string& name, std::size_t bytes) {
    const Fd file(::openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    const std::string data(bytes, 'x');
    write_all(file.get(), data.data(), data.size());
}

void remove_nested(const Directory& directory) {
    const Fd parent(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    remove_tree(parent.get(), "tree");
}

}  // namespace

TEST_CASE("a tree's size counts files by their blocks and everything else by a page") {
    const Directory directory;
    CHECK(tree_bytes(directory.path(), plenty) == 0);
    put(nest(directory.path(), "a", 2).get(), "file", 1 << 20);
    std::filesystem::create_symlink("/usr", directory / "link");
    REQUIRE(::mkfifo((directory / "fifo").c_str(), 0644) == 0);
    const auto bytes = tree_bytes(directory.path(), plenty);
    CHECK(bytes >= (1 << 20) + 4 * 4096);
    CHECK(bytes < (1 << 20) + 16 * 4096);
    CHECK(tree_bytes(directory / "absent", plenty) == 0);
}

TEST_CASE("nothing hides from the size behind a path that is too long to name") {
    const Directory directory;
    std::filesystem::create_directory(directory / "tree");
    put(nest(directory / "tree", std::string(200, 'd'), 1 + PATH_MAX / 200).get(), "file", 1 << 20);
    const auto bytes = tree_bytes(directory / "tree", plenty);
    CHECK(bytes >= 1 << 20);
    CHECK(bytes < 2 << 20);
    remove_nested(directory);
}

TEST_CASE("a tree that is nested too deeply counts as larger than anything") {
    const Directory directory;
    std::filesystem::create_directory(directory / "tree");
    nest(directory / "tree", "d", 300);
    CHECK(tree_bytes(directory / "tree", plenty) == unmeasurable);
    remove_nested(directory);
}

TEST_CASE("a repository whose size lies behind long paths is refused") {
    const Directory directory;
    const auto url = make_repository(directory.path(), "agent", {{"main.py", ""}});
    const auto bare = directory / "agent.git";
    // As long as git can write it below its own directory, so longer than can be named from the root.
    std::string path;
    while (path.size() + 200 < PATH_MAX - 10) path += std::string(199, 'd') + "/";
    path += std::string(PATH_MAX - 10 - path.size(), 'f');
    // Two files below the limit that are beyond it together, and next to nothing in the pack.
    write(directory / "big", std::string(3 << 20, 'x'));
    const auto line = [](std::string text) { return text.erase(text.find_last_not_of('\n') + 1); };
    const auto git = [&](std::vector<std::string> words) {
        words.insert(words.begin(), {"git", "--git-dir=" + bare.string()});
        return line(run_program(words));
    };
    const auto blob = git({"hash-object", "-w", (directory / "big").string()});
    for (const char end : {'1', '2'}) {
        path.back() = end;
        git({"update-index", "--add", "--cacheinfo", "100644," + blob + "," + path});
    }
    const auto commit = git({"commit-tree", "-m", "Deep", git({"write-tree"})});
    git({"update-ref", "refs/heads/main", commit});

    DeploymentOptions options;
    options.max_clone_bytes = 4 << 20;
    const auto work = directory / "tree";
    std::filesystem::create_directory(work);
    if (const auto identity = git_identity(options)) {
        REQUIRE(::chown(work.c_str(), identity->uid, identity->gid) == 0);
    }
    CloneRequest request;
    request.url = parse_repo_url(url, {"file"});
    request.branch = "main";
    const Error error =
        error_of([&] { clone_repository(request, work, options, {}, [](std::string_view) {}); });
    CAPTURE(error.message());
    CHECK(error.code() == Code::too_large);
    remove_nested(directory);
}
