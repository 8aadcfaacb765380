#include "init.hpp"

#include "root.hpp"

#include <minions/base/files.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <linux/input.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>

namespace minions::agent {

namespace {

struct Mount {
    const char* what;
    const char* where;
    const char* type;
    unsigned long flags;
    const char* data;
};

constexpr unsigned long usual = MS_NOSUID | MS_NOEXEC | MS_NODEV;
/// What is needed to find the root, and goes along to it.
constexpr Mount first_mounts[] = {
    {"proc", "/proc", "proc", usual, nullptr},
    {"sysfs", "/sys", "sysfs", usual, nullptr},
    {"devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755"},
};
constexpr Mount mounts[] = {
    {"devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
    {"tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"},
    {"tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"},
    {"cgroup2", "/sys/fs/cgroup", "cgroup2", usual, nullptr},
};
/// Paths of kernel modules, one a line.
constexpr const char* modules_list = "/etc/minions-agent/modules";
constexpr const char* input_devices = "/dev/input";
constexpr auto grace = std::chrono::seconds(3);

void complain(const char* what, const char* where) {
    std::fprintf(stderr, "minions-agent: cannot %s %s: %s\n", what, where, std::strerror(errno));
}

template <std::size_t Count>
void mount_all(const Mount (&table)[Count]) {
    for (const Mount& each : table) {
        ::mkdir(each.where, 0755);
        // EBUSY: the kernel or an initramfs was quicker.
        if (::mount(each.what, each.where, each.type, each.flags, each.data) != 0 && errno != EBUSY)
            complain("mount", each.where);
    }
}

/// A directory for everybody's temporary files, which a file system made elsewhere may lack.
void make_temporary_directory() {
    if (::mkdir("/tmp", 01777) == 0) ::chmod("/tmp", 01777);
}

/// Loads what `modules_list` names, in its order, which is that of their dependencies.
void load_modules() {
    std::string text;
    try {
        text = read_file(modules_list, std::size_t{1} << 16U);
    } catch (const std::system_error&) {  // a kernel with all that it needs built in
        return;
    }
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string path = text.substr(at, end - at);
        at = end + 1;
        if (path.empty()) continue;
        const Fd module(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if ((!module || ::syscall(SYS_finit_module, module.get(), "", 0) != 0) && errno != EEXIST)
            complain("load", path.c_str());
    }
}

/// Reaps until there is nobody left, or until then. SIGCHLD is blocked.
void wait_for_children(Loop::Clock::time_point until) {
    sigset_t child{};
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    for (;;) {
        pid_t reaped = 0;
        while ((reaped = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
        }
        const auto left =
            std::chrono::duration_cast<std::chrono::nanoseconds>(until - Loop::Clock::now()).count();
        if (reaped < 0 || left <= 0) return;
        const timespec span{left / 1'000'000'000, left % 1'000'000'000};
        if (::sigtimedwait(&child, nullptr, &span) < 0 && errno == EAGAIN) return;
    }
}

}  // namespace

void prepare_system() {
    mount_all(first_mounts);
    load_modules();
    enter_root();
    if (::mount(nullptr, "/", nullptr, MS_REMOUNT, nullptr) != 0) complain("make writable:", "/");
    mount_all(mounts);
    make_temporary_directory();
    if (::symlink("/proc/self/fd", "/dev/fd") != 0 && errno != EEXIST) complain("make the link", "/dev/fd");
    try {
        set_interface_up("lo");
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "minions-agent: %s\n", error.what());
    }
}

Init::Init(Loop& loop, Machine& machine) : loop_(loop) {
    ::reboot(RB_DISABLE_CAD);  // the power button's key combination is a signal to us
    sigset_t mask{};
    ::sigemptyset(&mask);
    ::sigaddset(&mask, SIGCHLD);
    ::sigaddset(&mask, SIGINT);   // reboot
    ::sigaddset(&mask, SIGTERM);  // power off
    ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
    signals_.reset(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) throw std::system_error(errno, std::generic_category(), "signalfd");
    loop_.watch(signals_.get(), EPOLLIN, [this](std::uint32_t) {
        signalfd_siginfo info{};
        while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
            if (info.ssi_signo == SIGINT) end(true);
            if (info.ssi_signo == SIGTERM) end(false);
        }
        reap();
    });
    machine.power = [this](bool reboot) {
        loop_.after(std::chrono::milliseconds(50), [this, reboot] { end(reboot); });
    };
    watch_buttons();
}

/// The machine's power button is one of its input devices.
void Init::watch_buttons() {
    const std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(input_devices), ::closedir);
    if (!list) return;  // a machine without, or a kernel that lacks the modules
    while (const dirent* entry = ::readdir(list.get())) {
        if (std::strncmp(entry->d_name, "event", 5) != 0) continue;
        Fd device(::openat(::dirfd(list.get()), entry->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (!device) continue;
        const int fd = device.get();
        loop_.watch(fd, EPOLLIN, [this, fd](std::uint32_t) { read_button(fd); });
        buttons_.push_back(std::move(device));
    }
}

void Init::read_button(int fd) {
    input_event event{};
    ssize_t got = 0;
    while ((got = ::read(fd, &event, sizeof event)) == sizeof event)
        if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1) end(false);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) loop_.forget(fd);  // unplugged
}

/// Reaps orphans. A child of our own is left to whoever waits for it: all of those lead a session.
void Init::reap() {
    for (;;) {
        siginfo_t info{};
        if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
        if (::getsid(info.si_pid) == info.si_pid) {
            // Not certainly our own: somebody's orphan may lead a session too. Ours are reaped within this
            // turn of the loop, so look again a little later.
            loop_.after(std::chrono::milliseconds(100),
                        [pid = info.si_pid] { ::waitpid(pid, nullptr, WNOHANG); });
            return;
        }
        ::waitpid(info.si_pid, nullptr, WNOHANG);
    }
}

void Init::end(bool reboot) {
    ::kill(-1, SIGTERM);
    wait_for_children(Loop::Clock::now() + grace);
    ::kill(-1, SIGKILL);
    ::sync();
    ::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_RDONLY, nullptr);
    ::reboot(reboot ? RB_AUTOBOOT : RB_POWER_OFF);
}

}  // namespace minions::agent
