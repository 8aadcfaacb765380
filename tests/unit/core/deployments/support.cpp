#include "tests/unit/core/deployments/support.hpp"

#include <minions/base/spawn.hpp>

#include <catch2/catch.hpp>
#include <stdlib.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

namespace minions::core::test {

namespace fs = std::filesystem;

Directory::Directory() {
    std::string name = "/tmp/minions-unit-XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    REQUIRE(::chmod(name.c_str(), 0755) == 0);
    path_ = name;
}

Directory::~Directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

void write(const fs::path& path, const std::string& text, int mode) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    REQUIRE(::chmod(path.c_str(), static_cast<mode_t>(mode)) == 0);
}

std::string read(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

std::string run_program(std::vector<std::string> argv, const fs::path& cwd) {
    SpawnOptions options;
    options.argv = std::move(argv);
    options.cwd = cwd;
    options.env = {"PATH=/usr/bin:/bin",      "HOME=/nonexistent",
                   "GIT_CONFIG_NOSYSTEM=1",   "GIT_CONFIG_GLOBAL=/dev/null",
                   "GIT_AUTHOR_NAME=Test",    "GIT_AUTHOR_EMAIL=t@example.invalid",
                   "GIT_COMMITTER_NAME=Test", "GIT_COMMITTER_EMAIL=t@example.invalid"};
    const auto result = run(std::move(options), RunLimits{});
    INFO(result.err);
    REQUIRE(result.success());
    return result.out;
}

std::string make_repository(const fs::path& directory, const std::string& name,
                            const std::map<std::string, std::string>& files, const std::string& branch) {
    const auto bare = directory / (name + ".git");
    const auto work = directory / (name + ".work");
    run_program({"git", "init", "-q", "--initial-branch=" + branch, work.string()});
    for (const auto& [file, text] : files) write(work / file, text);
    run_program({"git", "add", "-A"}, work);
    run_program({"git", "commit", "-q", "--allow-empty", "-m", "Content"}, work);
    run_program({"git", "clone", "-q", "--bare", work.string(), bare.string()});
    fs::remove_all(work);
    return "file://" + bare.string();
}

Error error_of(const std::function<void()>& what) {
    try {
        what();
    } catch (const Error& error) {
        return error;
    }
    FAIL("no Error was thrown");
    throw std::logic_error("not reached");
}

}  // namespace minions::core::test
