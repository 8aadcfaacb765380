#pragma once

#include <minions/base/fd.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions {

/// One message over a SOCK_STREAM Unix socket: a length (u32, little endian), that many bytes, and
/// descriptors.
struct Frame {
    std::string bytes;
    std::vector<Fd> fds;
    /// The frame brought descriptors, of which this process had no room for all: `fds` is empty.
    bool fds_lost = false;
};

constexpr std::size_t most_frame_fds = 8;

/// Sends one frame. The descriptors are copied to the peer and stay open here. Only one thread may send on a
/// socket at a time. Throws std::system_error (EPIPE when the peer is gone; never SIGPIPE) and
/// std::runtime_error (too many descriptors or bytes). Works on blocking and on non-blocking sockets, and
/// blocks either way.
void send_frame(int socket, std::string_view bytes, const std::vector<int>& fds = {});

/// Receives one frame of at most `max` bytes, blocking. Nothing means that the peer closed between two
/// frames. After an exception the stream is out of step: close it. Descriptors of a refused frame are closed.
/// Only one thread may receive on a socket at a time. Throws std::system_error, and std::runtime_error with a
/// sentence on a frame that is too long, cut off, or brings more than 8 descriptors or any in its middle.
std::optional<Frame> recv_frame(int socket, std::size_t max);

}  // namespace minions
