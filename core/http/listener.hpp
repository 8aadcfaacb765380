#pragma once

#include <minions/base/fd.hpp>

#include <string>
#include <vector>

namespace minions::core::http {

/// A listening, non-blocking socket. A Unix socket's file goes with it, if it is still ours.
class Listener {
  public:
    /// Throws Error: invalid, conflict (in use), unavailable.
    static Listener tcp(const std::string& address);
    /// Mode 0660, group `group` where that exists. A socket file that nobody listens on is replaced.
    static Listener unix_socket(const std::string& path, const std::string& group);

    Listener(Listener&& other) noexcept = default;
    Listener& operator=(Listener&&) = delete;
    ~Listener();

    int fd() const noexcept { return fd_.get(); }
    bool is_tcp() const noexcept { return path_.empty(); }
    /// The address with its port, or the path.
    std::string address() const;
    /// The next connection (non-blocking, close-on-exec), or an empty one with errno.
    Fd accept() const noexcept;

  private:
    Listener() = default;
    Fd fd_;
    std::string path_;
    unsigned long device_ = 0;
    unsigned long inode_ = 0;
};

}  // namespace minions::core::http
