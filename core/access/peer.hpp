#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// An IPv4 or IPv6 address in network byte order; IPv4-mapped IPv6 addresses become IPv4.
class IpAddress {
  public:
    /// Null where `text` is no numeric address (names are not resolved, scope ids not accepted).
    static std::optional<IpAddress> parse(std::string_view text);
    /// Null unless `address` is AF_INET or AF_INET6.
    static std::optional<IpAddress> from(const sockaddr* address);

    int family() const noexcept { return family_; }
    const unsigned char* bytes() const noexcept { return bytes_; }
    unsigned bits() const noexcept { return family_ == AF_INET ? 32 : 128; }
    bool is_loopback() const noexcept;
    bool is_any() const noexcept;
    /// Whether the first `prefix` bits of both are the same and of the same family.
    bool within(const IpAddress& network, unsigned prefix) const noexcept;
    std::string text() const;

    friend bool operator==(const IpAddress& a, const IpAddress& b) noexcept {
        return a.family_ == b.family_ && a.within(b, b.bits());
    }

  private:
    int family_ = AF_INET;
    unsigned char bytes_[16] = {};
};

/// The other end of a connection. Belongs to the connection; used by one request at a time.
struct Peer {
    enum class Kind { unix_socket, tcp };
    Kind kind = Kind::unix_socket;

    // unix_socket: the credentials at connect time.
    uid_t uid = static_cast<uid_t>(-1);
    gid_t gid = static_cast<gid_t>(-1);
    pid_t pid = 0;
    std::vector<gid_t> groups;  ///< supplementary ones

    // tcp
    sockaddr_storage remote{};
    sockaddr_storage local{};
    /// Owner of a loopback peer's socket once it was found out; access/ fills and reads it.
    std::optional<uid_t> socket_owner;

    /// "uid 1000 pid 4711" or "127.0.0.1:41234".
    std::string text() const;
    std::optional<IpAddress> remote_ip() const;
    std::optional<IpAddress> local_ip() const;
};

/// The peer of a connected socket. Throws std::system_error when the peer is gone already.
Peer peer_of(int fd);

}  // namespace minions::core
