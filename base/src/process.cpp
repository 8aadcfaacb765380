#include <minions/base/spawn.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <charconv>
#include <cstdlib>
#include <memory>
#include <system_error>

namespace minions {

std::string ExitStatus::to_string() const {
    if (signal == 0) return "exit status " + std::to_string(code);
    const char* name = ::sigdescr_np(signal);
    return "killed by signal " + std::to_string(signal) + " (" + (name != nullptr ? name : "unknown") + ")";
}

Process::Process(pid_t pid, Fd pidfd, bool leads_group) noexcept
    : pid_(pid), pidfd_(std::move(pidfd)), leads_group_(leads_group) {}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      leads_group_(other.leads_group_),
      status_(std::exchange(other.status_, std::nullopt)) {}

Process& Process::operator=(Process&& other) noexcept {
    if (this == &other) return *this;
    end();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    leads_group_ = other.leads_group_;
    status_ = std::exchange(other.status_, std::nullopt);
    return *this;
}

Process::~Process() { end(); }

void Process::end() noexcept {
    if (pid_ <= 0 || status_) return;
    if (leads_group_) ::kill(-pid_, SIGKILL);
    ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0U);
    siginfo_t info{};
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) != 0 && errno == EINTR) {
    }
    pid_ = -1;
}

std::optional<ExitStatus> Process::wait(Deadline deadline) {
    if (status_) return status_;
    pollfd entry{pidfd_.get(), POLLIN, 0};
    if (poll_until(&entry, 1, deadline) == 0) return std::nullopt;
    siginfo_t info{};
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) != 0) {
        if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "cannot reap a process");
    }
    ExitStatus status;
    if (info.si_code == CLD_EXITED) {
        status.code = info.si_status;
    } else {
        status.signal = info.si_status;
    }
    status_ = status;
    return status_;
}

bool Process::kill(int signal) {
    if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0U) == 0) return true;
    if (errno == ESRCH) return false;
    throw std::system_error(errno, std::generic_category(), "cannot signal a process");
}

bool Process::kill_group(int signal) {
    if (pid_ <= 0 || status_ || !leads_group_) return false;
    if (::kill(-pid_, signal) == 0) return true;
    if (errno == ESRCH) return false;
    throw std::system_error(errno, std::generic_category(), "cannot signal a process group");
}

Fd Process::release() noexcept {
    pid_ = -1;
    return std::move(pidfd_);
}

std::optional<std::uint64_t> process_start_time(pid_t pid) {
    const std::string path = "/proc/" + std::to_string(pid) + "/stat";
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return std::nullopt;
    char text[1024];
    const ssize_t got = ::read(file.get(), text, sizeof text);
    if (got <= 0) return std::nullopt;
    // The second field is the name in parentheses, which may itself hold spaces and parentheses.
    const std::string_view stat(text, static_cast<std::size_t>(got));
    std::size_t at = stat.rfind(") ");
    if (at == std::string_view::npos) return std::nullopt;
    at += 2;
    if (at >= stat.size() || stat[at] == 'Z' || stat[at] == 'X') return std::nullopt;
    for (int field = 3; field < 22; ++field) {
        at = stat.find(' ', at);
        if (at == std::string_view::npos) return std::nullopt;
        ++at;
    }
    return std::strtoull(std::string(stat.substr(at, stat.find(' ', at) - at)).c_str(), nullptr, 10);
}

std::vector<pid_t> process_ids() {
    std::vector<pid_t> ids;
    const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), ::closedir);
    while (const dirent* entry = proc ? ::readdir(proc.get()) : nullptr) {
        const std::string_view name = entry->d_name;
        pid_t pid = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (error == std::errc() && end == name.data() + name.size()) ids.push_back(pid);
    }
    return ids;
}

Fd open_pidfd(pid_t pid) noexcept { return Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U))); }

}  // namespace minions
