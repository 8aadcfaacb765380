#include "core/http/listener.hpp"

#include <minions/base/unix_address.hpp>
#include <minions/error.hpp>

#include <Poco/Exception.h>
#include <Poco/Net/SocketAddress.h>
#include <fmt/format.h>

#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace minions::core::http {
namespace {

constexpr int backlog = 1024;

std::string why(int error) { return std::generic_category().message(error); }

void set_flag(int fd, int level, int option) {
    const int one = 1;
    ::setsockopt(fd, level, option, &one, sizeof one);
}

UnixAddress unix_address(const std::string& path) {
    if (path.empty() || path.front() != '/' || path.size() > UnixAddress::longest) {
        throw Error(Code::invalid, fmt::format("socket path '{}' cannot be used", path),
                    fmt::format("give an absolute path of at most {} bytes", UnixAddress::longest));
    }
    return UnixAddress(path);
}

// Makes way for our socket at `path`, but for nothing that is alive or no socket.
void remove_stale(const std::string& path, const UnixAddress& address) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return;
    if (!S_ISSOCK(info.st_mode)) {
        throw Error(Code::conflict, fmt::format("'{}' exists and is not a socket", path),
                    "remove it or choose another path");
    }
    const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int result = address.connect(probe.get());
    if (result == 0 || errno != ECONNREFUSED) {
        throw Error(Code::conflict, fmt::format("another process listens on '{}'", path),
                    "stop it or choose another path");
    }
    ::unlink(path.c_str());
}

// A daemon without the right to do so keeps a socket of its own group.
void give_to_group(const std::string& path, const std::string& name) {
    ::group entry{};
    ::group* found = nullptr;
    char buffer[4096];
    const bool known =
        ::getgrnam_r(name.c_str(), &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr;
    if (known && ::lchown(path.c_str(), static_cast<uid_t>(-1), entry.gr_gid) != 0) return;
    ::chmod(path.c_str(), 0660);
}

}  // namespace

Listener Listener::tcp(const std::string& text) {
    Poco::Net::SocketAddress address;
    try {
        address = Poco::Net::SocketAddress(text);
    } catch (const Poco::Exception&) {
        throw Error(Code::invalid, fmt::format("'{}' is no address to listen on", text),
                    "write it as 127.0.0.1:3000 or [::1]:3000");
    }
    Listener out;
    out.fd_.reset(::socket(address.af(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!out.fd_) throw Error(Code::unavailable, fmt::format("cannot listen on {}: {}", text, why(errno)));
    set_flag(out.fd(), SOL_SOCKET, SO_REUSEADDR);
    set_flag(out.fd(), IPPROTO_TCP, TCP_NODELAY);  // inherited by what is accepted
    if (address.af() == AF_INET6) set_flag(out.fd(), IPPROTO_IPV6, IPV6_V6ONLY);
    if (::bind(out.fd(), address.addr(), address.length()) != 0 || ::listen(out.fd(), backlog) != 0) {
        if (errno == EADDRINUSE) {
            throw Error(Code::conflict, fmt::format("{} is in use by another process", text),
                        "stop it or choose another address with --bind");
        }
        throw Error(Code::unavailable, fmt::format("cannot listen on {}: {}", text, why(errno)));
    }
    return out;
}

Listener Listener::unix_socket(const std::string& path, const std::string& group) {
    const UnixAddress address = unix_address(path);
    remove_stale(path, address);
    Listener out;
    out.fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    // The mode of the descriptor becomes the file's: nobody else gets in before the group is set.
    if (!out.fd_ || ::fchmod(out.fd(), 0600) != 0 || address.bind(out.fd()) != 0) {
        throw Error(errno == EADDRINUSE ? Code::conflict : Code::unavailable,
                    fmt::format("cannot listen on {}: {}", path, why(errno)));
    }
    out.path_ = path;
    struct stat info {};
    if (::lstat(path.c_str(), &info) == 0) {
        out.device_ = info.st_dev;
        out.inode_ = info.st_ino;
    }
    give_to_group(path, group);
    if (::listen(out.fd(), backlog) != 0) {
        throw Error(Code::unavailable, fmt::format("cannot listen on {}: {}", path, why(errno)));
    }
    return out;
}

Listener::~Listener() {
    if (!fd_ || path_.empty()) return;
    struct stat info {};
    if (::lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_)
        ::unlink(path_.c_str());
}

std::string Listener::address() const {
    if (!is_tcp()) return path_;
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (::getsockname(fd(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
    return Poco::Net::SocketAddress(reinterpret_cast<const sockaddr*>(&storage), size).toString();
}

Fd Listener::accept() const noexcept {
    return Fd(::accept4(fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

}  // namespace minions::core::http
