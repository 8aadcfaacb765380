#include "cli/own_daemon.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/files.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>
#include <vector>

namespace minions::cli {
namespace {

namespace fs = std::filesystem;

constexpr auto start_patience = std::chrono::seconds(30);
constexpr auto stop_patience = std::chrono::seconds(15);  // longer than a daemon takes to end
constexpr const char* log_file = "log";

fs::path private_directory() {
    std::string name = fs::temp_directory_path() / "minions-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw error_from_errno(errno, "cannot make a temporary directory");
    return name;
}

std::vector<std::string> own_environment() {
    std::vector<std::string> environment;
    for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
    return environment;
}

}  // namespace

OwnDaemon::OwnDaemon(const std::string& state_directory) : directory_(private_directory()) {
    FdPair pipe = make_pipe();
    SpawnOptions options;
    options.argv = {fs::read_symlink("/proc/self/exe"),
                    "serve",
                    "--state-dir",
                    fs::absolute(state_directory),
                    "--run-dir",
                    directory_ / "run",
                    "--socket",
                    directory_ / "s",
                    "--set",
                    "server.bind=",
                    "--set",
                    "plugins.enabled=none",
                    "--set",
                    "network.manage=false",
                    "--set",
                    "log.format=text"};
    options.env = own_environment();
    options.out = Stdio(std::move(pipe.second));
    options.err =
        Stdio(Fd(::open((directory_ / log_file).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)));
    options.parent_death_signal = SIGTERM;
    try {
        process_ = spawn(std::move(options));
        wait_until_ready(pipe.first.get());
    } catch (...) {
        process_ = {};
        std::error_code ignored;
        fs::remove_all(directory_, ignored);
        throw;
    }
}

OwnDaemon::~OwnDaemon() {
    process_.kill(SIGTERM);
    try {
        process_.wait(deadline_in(stop_patience));
    } catch (const std::system_error&) {  // NOLINT(bugprone-empty-catch): then it is killed
    }
    process_ = {};
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
}

std::string OwnDaemon::address() const { return "unix:" + (directory_ / "s").string(); }

void OwnDaemon::wait_until_ready(int output) {
    const auto until = deadline_in(start_patience);
    std::string said;
    std::array<char, 4096> piece{};
    pollfd ready{output, POLLIN, 0};
    while (said.find('\n') == std::string::npos && poll_until(&ready, 1, until) > 0) {
        const ssize_t got = ::read(output, piece.data(), piece.size());
        if (got <= 0) break;
        said.append(piece.data(), static_cast<std::size_t>(got));
    }
    if (said.starts_with("minions ready:")) return;
    constexpr std::string_view label = "error: ";
    std::string reason = read_file(directory_ / log_file, std::size_t{1} << 20U);
    if (const auto at = reason.rfind(label); at != std::string::npos) reason.erase(0, at + label.size());
    reason.resize(std::min(reason.find('\n'), reason.size()));
    throw Error(Code::unavailable, fmt::format("no daemon can work on that state directory: {}", reason),
                "where one is running, leave --state-dir away");
}

}  // namespace minions::cli
