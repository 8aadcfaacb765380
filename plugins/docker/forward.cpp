#include "plugins/docker/forward.hpp"

#include "plugins/docker/process_group.hpp"

#include <minions/base/deadline.hpp>

#include <fmt/format.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <thread>
#include <vector>

namespace minions::docker {
namespace {

struct Target {
    sockaddr_storage address{};
    socklen_t size = 0;
};

std::optional<Target> target_of(const std::string& text, int port) {
    Target target;
    auto* four = reinterpret_cast<sockaddr_in*>(&target.address);
    auto* six = reinterpret_cast<sockaddr_in6*>(&target.address);
    if (inet_pton(AF_INET, text.c_str(), &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(static_cast<std::uint16_t>(port));
        target.size = sizeof *four;
    } else if (inet_pton(AF_INET6, text.c_str(), &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(static_cast<std::uint16_t>(port));
        target.size = sizeof *six;
    } else {
        return std::nullopt;
    }
    return target;
}

Fd unconnected(const Target& target) {
    return Fd(::socket(target.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

/// A socket belongs to the namespace that its thread was in when it was made, and to that for ever: so a
/// thread of its own enters the container's, makes the sockets, and ends. Returns none if it may not enter.
std::vector<Fd> sockets_inside(const Fd& network_namespace, const std::vector<Target>& targets) {
    std::vector<Fd> sockets;
    std::thread([&] {
        if (::setns(network_namespace.get(), CLONE_NEWNET) != 0) return;
        for (const auto& target : targets) sockets.push_back(unconnected(target));
    }).join();
    return sockets;
}

/// Returns 0 or an errno. Throws cancelled and deadline.
int connect_patiently(const Fd& fd, const Target& target, const Patience& patience) {
    if (!fd) return EAFNOSUPPORT;
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&target.address), target.size) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    pollfd wait[] = {{fd.get(), POLLOUT, 0}, {patience.cancel_fd, POLLIN, 0}};
    const int ready = poll_until(wait, 2, patience.deadline);
    if (wait[1].revents != 0) throw Error(Code::cancelled, "the call was cancelled");
    if (ready == 0) throw Error(Code::deadline, "nobody answered the connection in time", {}, true);
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

}  // namespace

Fd connect_inside(const Patience& patience, const std::string& container_id, pid_t pid,
                  const std::optional<std::string>& address, int port) {
    std::vector<std::string> names{"127.0.0.1", "::1"};
    if (address) names.push_back(*address);
    const Fd inside(::open(fmt::format("/proc/{}/ns/net", pid).c_str(), O_RDONLY | O_CLOEXEC));
    // Asked after the open: the namespace is then that of the process that was checked.
    const bool enter = inside && in_container(pid, container_id);
    std::vector<Target> targets;
    for (const auto& name : names) {
        if (auto target = target_of(name, port)) targets.push_back(*target);
    }
    std::vector<Fd> sockets;
    if (enter) sockets = sockets_inside(inside, targets);
    const bool loopback = !sockets.empty();
    if (!loopback) {
        targets.clear();
        if (const auto target = address ? target_of(*address, port) : std::nullopt) {
            targets.push_back(*target);
            sockets.push_back(unconnected(*target));
        }
    }
    for (std::size_t i = 0; i < sockets.size(); ++i) {
        if (connect_patiently(sockets[i], targets[i], patience) != 0) continue;
        const int on = 1;
        ::setsockopt(sockets[i].get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        ::fcntl(sockets[i].get(), F_SETFL, 0);
        return std::move(sockets[i]);
    }
    if (loopback) {
        throw Error(Code::unavailable, fmt::format("nobody listens on port {} in the instance", port),
                    "look whether its server runs, and on which port", true);
    }
    throw Error(Code::unavailable,
                fmt::format("nobody listens on port {} at the instance's address; whether one does on its "
                            "loopback is out of reach, as the daemon may not enter its network",
                            port),
                "let the server listen on all addresses, or give the daemon CAP_SYS_ADMIN", true);
}

}  // namespace minions::docker
