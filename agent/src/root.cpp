#include "root.hpp"

#include <minions/base/files.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <system_error>
#include <vector>

namespace minions::agent {

namespace {

constexpr auto patience = std::chrono::seconds(30);
/// Where the disk is mounted until it becomes the root.
constexpr const char* below = "/.root";
/// What moves along.
constexpr std::array moved = {"/proc", "/sys", "/dev"};

[[noreturn]] void fail(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

bool is_initramfs() {
    struct statfs system {};
    if (::statfs("/", &system) != 0) return false;
    return system.f_type == RAMFS_MAGIC || system.f_type == TMPFS_MAGIC;
}

/// Each device is told after its node exists in devtmpfs.
Fd listen_for_devices() {
    Fd socket(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = 1;  // the kernel's own messages
    if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        fail("cannot listen for devices");
    return socket;
}

void wait_for(const std::string& device) {
    const Fd messages = listen_for_devices();
    const auto until = std::chrono::steady_clock::now() + patience;
    std::array<char, 8192> dropped{};
    while (::access(device.c_str(), F_OK) != 0) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        pollfd ready{messages.get(), POLLIN, 0};
        if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) == 0) {
            errno = ENODEV;
            fail(device + " did not appear");
        }
        // What it says does not matter, nor that some were lost (ENOBUFS): the node is looked for anew.
        while (::recv(messages.get(), dropped.data(), dropped.size(), 0) > 0) {
        }
    }
}

/// Names in the initramfs's root, which are to go.
std::vector<std::string> initramfs_names(int root) {
    std::vector<std::string> names;
    const Fd copy(::openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(::dup(copy.get())), ::closedir);
    if (!list) return names;
    while (const dirent* entry = ::readdir(list.get())) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    return names;
}

/// Frees the memory of the initramfs. Its directories that something is mounted on stay, empty.
void empty_initramfs(int root) {
    for (const std::string& name : initramfs_names(root)) {
        try {
            remove_tree(root, name);
        } catch (const std::system_error&) {  // memory that stays taken is no reason to stop
        }
    }
}

void switch_root(const RootRequest& request) {
    wait_for(request.device);
    ::mkdir(below, 0755);
    if (::mount(request.device.c_str(), below, request.type.c_str(), 0, nullptr) != 0)
        fail("cannot mount " + request.device + " as " + request.type);
    for (const char* each : moved) {
        const std::string target = std::string(below) + each;
        ::mkdir(target.c_str(), 0755);  // a file system made elsewhere may lack it
        if (::mount(each, target.c_str(), nullptr, MS_MOVE, nullptr) != 0) fail("cannot move to " + target);
    }
    const Fd old(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (::chdir(below) != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || ::chroot(".") != 0 ||
        ::chdir("/") != 0)
        fail("cannot make " + request.device + " the root");
    empty_initramfs(old.get());
}

}  // namespace

std::optional<RootRequest> parse_root(std::string_view command_line) {
    RootRequest request;
    while (!command_line.empty()) {
        const std::size_t end = std::min(command_line.find_first_of(" \n"), command_line.size());
        const std::string_view word = command_line.substr(0, end);
        command_line.remove_prefix(std::min(end + 1, command_line.size()));
        const auto value = [&word](std::string_view key, std::string& into) {
            if (word.substr(0, key.size()) == key) into = word.substr(key.size());
        };
        value("root=", request.device);
        value("rootfstype=", request.type);
        value("minions.init=", request.init);
    }
    if (request.device.empty()) return std::nullopt;
    return request;
}

void enter_root() {
    if (!is_initramfs()) return;
    try {
        const std::optional<RootRequest> request = parse_root(read_file("/proc/cmdline", 64U << 10U));
        if (!request) return;
        switch_root(*request);
        if (request->init.empty()) return;
        std::string program = request->init;
        std::array<char*, 2> argv = {program.data(), nullptr};
        ::execv(program.c_str(), argv.data());
        // The agent is a better end than a panic.
        fail("cannot execute " + request->init);
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "minions-agent: %s\n", error.what());
    }
}

}  // namespace minions::agent
