#include "core/access/peer.hpp"

#include <fmt/format.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace minions::core {
namespace {

unsigned port_of(const sockaddr_storage& address) {
    return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                               : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

std::vector<gid_t> peer_groups(int fd) {
    std::vector<gid_t> groups(32);
    for (;;) {
        socklen_t size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
        if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0) {
            groups.resize(size / sizeof(gid_t));
            return groups;
        }
        if (errno != ERANGE) return {};
        groups.resize(std::max<std::size_t>(groups.size() * 2, size / sizeof(gid_t)));
    }
}

}  // namespace

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
    const std::string copy(text);
    if (copy.size() != std::strlen(copy.c_str())) return std::nullopt;
    sockaddr_in v4{};
    if (::inet_pton(AF_INET, copy.c_str(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        return from(reinterpret_cast<const sockaddr*>(&v4));
    }
    sockaddr_in6 v6{};
    if (::inet_pton(AF_INET6, copy.c_str(), &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        return from(reinterpret_cast<const sockaddr*>(&v6));
    }
    return std::nullopt;
}

std::optional<IpAddress> IpAddress::from(const sockaddr* address) {
    IpAddress out;
    if (address->sa_family == AF_INET) {
        std::memcpy(out.bytes_, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, 4);
        return out;
    }
    if (address->sa_family != AF_INET6) return std::nullopt;
    const auto& v6 = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&v6)) {
        std::memcpy(out.bytes_, v6.s6_addr + 12, 4);
        return out;
    }
    out.family_ = AF_INET6;
    std::memcpy(out.bytes_, v6.s6_addr, 16);
    return out;
}

bool IpAddress::is_loopback() const noexcept {
    if (family_ == AF_INET) return bytes_[0] == 127;
    return std::all_of(bytes_, bytes_ + 15, [](unsigned char byte) { return byte == 0; }) && bytes_[15] == 1;
}

bool IpAddress::is_any() const noexcept {
    return std::all_of(bytes_, bytes_ + bits() / 8, [](unsigned char byte) { return byte == 0; });
}

bool IpAddress::within(const IpAddress& network, unsigned prefix) const noexcept {
    if (family_ != network.family_ || prefix > bits()) return false;
    const unsigned whole = prefix / 8;
    if (std::memcmp(bytes_, network.bytes_, whole) != 0) return false;
    const unsigned rest = prefix % 8;
    if (rest == 0) return true;
    const auto mask = static_cast<unsigned char>(0xff << (8 - rest));
    return (bytes_[whole] & mask) == (network.bytes_[whole] & mask);
}

std::string IpAddress::text() const {
    char buffer[INET6_ADDRSTRLEN] = {};
    ::inet_ntop(family_, bytes_, buffer, sizeof buffer);
    return buffer;
}

std::string Peer::text() const {
    if (kind == Kind::unix_socket) return fmt::format("uid {} pid {}", uid, pid);
    const auto ip = remote_ip();
    if (!ip) return "unknown";
    const std::string host = ip->family() == AF_INET6 ? "[" + ip->text() + "]" : ip->text();
    return fmt::format("{}:{}", host, port_of(remote));
}

std::optional<IpAddress> Peer::remote_ip() const {
    return kind == Kind::tcp ? IpAddress::from(reinterpret_cast<const sockaddr*>(&remote)) : std::nullopt;
}

std::optional<IpAddress> Peer::local_ip() const {
    return kind == Kind::tcp ? IpAddress::from(reinterpret_cast<const sockaddr*>(&local)) : std::nullopt;
}

Peer peer_of(int fd) {
    Peer peer;
    socklen_t size = sizeof peer.local;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&peer.local), &size) != 0) {
        throw std::system_error(errno, std::generic_category(), "getsockname");
    }
    if (peer.local.ss_family == AF_UNIX) {
        ucred credentials{};
        size = sizeof credentials;
        if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
            throw std::system_error(errno, std::generic_category(), "SO_PEERCRED");
        }
        peer.uid = credentials.uid;
        peer.gid = credentials.gid;
        peer.pid = credentials.pid;
        peer.groups = peer_groups(fd);
        return peer;
    }
    peer.kind = Peer::Kind::tcp;
    size = sizeof peer.remote;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer.remote), &size) != 0) {
        throw std::system_error(errno, std::generic_category(), "getpeername");
    }
    return peer;
}

}  // namespace minions::core
