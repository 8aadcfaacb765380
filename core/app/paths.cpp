#include "core/app/paths.hpp"

#include <minions/base/unix_address.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <sys/stat.h>

#include <system_error>

namespace minions::core {
namespace {

/// What an instance may put below the run directory: a directory of a life and a socket in it, to whose name
/// a port may be added.
constexpr std::string_view deepest_socket = "/vms/iiiiiiiiiiii/llllllll/ssssssssssss_65535";
constexpr std::size_t max_run_path = UnixAddress::longest - deepest_socket.size();

std::filesystem::path executable_directory() {
    std::error_code error;
    return std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
}

std::filesystem::path absolute_of(const Config& config, const char* key) {
    const auto text = config.string(key);
    if (text.empty()) {
        throw Error(Code::invalid, fmt::format("{}: '{}' must name a directory", config.source(key), key));
    }
    return std::filesystem::absolute(text).lexically_normal();
}

void make_directory(const std::filesystem::path& path, const char* key) {
    std::error_code error;
    if (std::filesystem::create_directories(path, error)) {
        std::filesystem::permissions(path, std::filesystem::perms(0755), error);
    }
    if (error) {
        const auto failure = error_from_errno(
            error.value(), fmt::format("cannot make the directory {} of '{}'", path.string(), key));
        throw Error(failure.code(), failure.message(),
                    failure.hint().empty()
                        ? fmt::format("run as root, or set '{}' to a directory of yours", key)
                        : failure.hint());
    }
}

}  // namespace

std::filesystem::path shim_program() {
    constexpr const char* name = "minions-shim";
    const auto directory = executable_directory();
    std::error_code error;
    auto beside = directory / name;
    if (std::filesystem::exists(beside, error)) return beside;
    // An absolute MINIONS_LIBEXECDIR replaces what is before it.
    return directory.parent_path() / MINIONS_LIBEXECDIR / "minions" / name;
}

std::filesystem::path agent_program() {
    constexpr const char* name = "minions-agent";
    const auto directory = executable_directory();
    std::error_code error;
    auto beside = directory / name;
    if (std::filesystem::exists(beside, error)) return beside;
    return directory.parent_path() / MINIONS_SBINDIR / name;
}

std::vector<std::filesystem::path> plugin_directories(const Config& config) {
    std::vector<std::filesystem::path> directories;
    if (const auto executable = executable_directory(); !executable.empty()) {
        directories.push_back(executable.parent_path() / "lib" / "minions" / "runtimes");
    }
    for (const auto& directory : config.list("plugin_dirs")) {
        directories.push_back(std::filesystem::absolute(directory).lexically_normal());
    }
    return directories;
}

Paths paths_of(const Config& config) {
    Paths paths;
    paths.state = absolute_of(config, "state_dir");
    paths.run = absolute_of(config, "run_dir");
    paths.plugins = plugin_directories(config);
    paths.shim = shim_program();
    paths.agent = agent_program();
    const auto recipes = config.string("images.recipes_dir");
    paths.recipes = recipes.empty()
                        ? executable_directory().parent_path() / MINIONS_DATADIR / "minions" / "recipes"
                        : std::filesystem::absolute(recipes).lexically_normal();
    if (paths.run.string().size() > max_run_path) {
        throw Error(Code::invalid,
                    fmt::format("{}: the path of 'run_dir' is longer than {} bytes", config.source("run_dir"),
                                max_run_path),
                    "sockets below it would not fit: choose a shorter one");
    }
    auto socket = config.string("server.socket");
    constexpr std::string_view placeholder = "{run_dir}";
    if (socket.starts_with(placeholder)) socket.replace(0, placeholder.size(), paths.run.string());
    if (!socket.empty()) socket = std::filesystem::absolute(socket).lexically_normal().string();
    if (socket.size() > UnixAddress::longest) {
        throw Error(Code::invalid,
                    fmt::format("{}: the path of 'server.socket' is longer than {} bytes",
                                config.source("server.socket"), UnixAddress::longest),
                    "choose a shorter one");
    }
    paths.socket = std::move(socket);
    return paths;
}

void make_run_directories(const Paths& paths) {
    make_directory(paths.run, "run_dir");
    if (!paths.socket.empty()) {
        make_directory(std::filesystem::path(paths.socket).parent_path(), "server.socket");
    }
}

}  // namespace minions::core
