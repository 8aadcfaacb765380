#include "plugins/docker/process_group.hpp"

#include <minions/base/spawn.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <signal.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace minions::docker {
namespace {

std::string text_of(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

/// The session of a living process; nothing for zombies and what is gone.
std::optional<pid_t> session_of(pid_t pid) {
    const std::string stat = text_of(fmt::format("/proc/{}/stat", pid));
    // The command's name may hold anything, parentheses too.
    const auto end = stat.rfind(')');
    if (end == std::string::npos) return std::nullopt;
    std::istringstream fields(stat.substr(end + 1));
    char state = 0;
    pid_t parent = 0;
    pid_t group = 0;
    pid_t session = 0;
    fields >> state >> parent >> group >> session;
    if (!fields || state == 'Z' || state == 'X') return std::nullopt;
    return session;
}

std::vector<pid_t> living_members(pid_t leader, std::string_view container_id) {
    std::vector<pid_t> members;
    for (const pid_t pid : process_ids())
        if (session_of(pid) == leader && in_container(pid, container_id)) members.push_back(pid);
    return members;
}

}  // namespace

bool in_container(pid_t pid, std::string_view container_id) {
    if (pid <= 1 || container_id.size() < 12) return false;
    return text_of(fmt::format("/proc/{}/cgroup", pid)).find(container_id) != std::string::npos;
}

bool signal_group(pid_t leader, std::string_view container_id, int signal) {
    if (!in_container(leader, container_id)) return false;
    if (::kill(-leader, signal) == 0) return true;
    if (errno == ESRCH) return false;
    throw Error(Code::unavailable,
                fmt::format("signal {} cannot be sent to the command: the daemon may not "
                            "signal processes of the engine",
                            signal),
                "run the daemon as root or with CAP_KILL");
}

bool kill_session(pid_t leader, std::string_view container_id) {
    using namespace std::chrono_literals;
    const auto give_up = std::chrono::steady_clock::now() + 1s;
    if (in_container(leader, container_id)) ::kill(-leader, SIGKILL);
    for (;;) {
        const auto members = living_members(leader, container_id);
        if (members.empty()) return true;
        for (const auto pid : members) ::kill(pid, SIGKILL);
        if (std::chrono::steady_clock::now() > give_up) return false;
        // Death is not an event that a stranger of the process could wait for without a pidfd of each.
        std::this_thread::sleep_for(2ms);
    }
}

}  // namespace minions::docker
