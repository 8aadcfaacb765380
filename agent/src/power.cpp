#include "machine.hpp"

#include <minions/base/files.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

namespace minions::agent {

namespace {
/// linux/fs/ext4: _IOW('f', 16, __u64), the new size in blocks.
constexpr unsigned long ext4_resize = _IOW('f', 16, std::uint64_t);
constexpr long ext4_magic = 0xEF53;
}  // namespace

void grow_root() {
    const Fd root(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat info {};
    struct statfs system {};
    if (!root || ::fstat(root.get(), &info) != 0 || ::fstatfs(root.get(), &system) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot look at the root file system");
    if (system.f_type != ext4_magic) throw Refusal{End::refused, "the root file system is not ext4"};
    const std::string name =
        "/sys/dev/block/" + std::to_string(::major(info.st_dev)) + ":" + std::to_string(::minor(info.st_dev));
    if (::access((name + "/partition").c_str(), F_OK) == 0)
        throw Refusal{End::refused, "the root file system is on a partition; grow that first"};
    const std::uint64_t sectors = std::stoull(read_file(name + "/size", 64));
    std::uint64_t blocks = sectors * 512 / static_cast<std::uint64_t>(system.f_bsize);
    if (::ioctl(root.get(), ext4_resize, &blocks) != 0 && errno != EBUSY)
        throw std::system_error(errno, std::generic_category(), "cannot grow the root file system");
}

void use_all_cpus() {
    constexpr const char* top = "/sys/devices/system/cpu";
    const std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(top), ::closedir);
    if (!list) return;
    while (const dirent* entry = ::readdir(list.get())) {
        // Of a CPU that cannot be taken off there is no such file.
        const std::string path = std::string(top).append("/").append(entry->d_name).append("/online");
        const Fd online(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        char present = 0;
        if (!online || std::string_view(entry->d_name).substr(0, 3) != "cpu") continue;
        if (::read(online.get(), &present, 1) == 1 && present == '0')
            static_cast<void>(!::pwrite(online.get(), "1", 1, 0));
    }
}

Fd watch_for_cpus(Loop& loop) {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    kernel.nl_groups = 1;
    if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel) != 0)
        return {};
    loop.watch(socket.get(), EPOLLIN, [fd = socket.get()](std::uint32_t) {
        bool plugged = false;
        char event[4096];
        for (;;) {
            const ssize_t got = ::recv(fd, event, sizeof event, 0);
            if (got < 0 && errno != ENOBUFS) break;
            // After more than the socket holds, any of them may have been one.
            plugged = plugged || got < 0 ||
                      std::string_view(event, static_cast<std::size_t>(got))
                          .starts_with("add@/devices/system/cpu/");
        }
        if (plugged) use_all_cpus();
    });
    return socket;
}

void ask_init(bool reboot) {
    // systemd's own numbers (systemd(1), "Signals"); other inits take the rest of their business from these
    // too.
    const int signal = reboot ? SIGRTMIN + 5 : SIGRTMIN + 4;
    if (::access("/run/systemd/system", F_OK) != 0)
        throw Refusal{End::refused, "this machine's init is not systemd; run its own shutdown command"};
    if (::kill(1, signal) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot ask init to shut down");
}

}  // namespace minions::agent
