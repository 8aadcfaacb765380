#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <string>

namespace minions {

/// The address of a Unix socket that has a path (unix(7)).
class UnixAddress {
  public:
    /// Bytes of the longest path: one is for the NUL at its end.
    static constexpr std::size_t longest = sizeof(sockaddr_un::sun_path) - 1;

    /// Throws std::invalid_argument for a path that is empty, longer, or has a NUL in it.
    explicit UnixAddress(const std::string& path);

    /// bind(2), connect(2): 0, or -1 with errno.
    int bind(int socket) const noexcept;
    int connect(int socket) const noexcept;

  private:
    sockaddr_un address_{};
};

}  // namespace minions
