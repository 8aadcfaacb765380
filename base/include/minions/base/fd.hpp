#pragma once

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace minions {

/// Owns one file descriptor; closes it on destruction. Not thread-safe, like unique_ptr.
class Fd {
  public:
    Fd() noexcept = default;
    explicit Fd(int fd) noexcept : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) reset(std::exchange(other.fd_, -1));
        return *this;
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() { reset(); }

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }

    /// Gives the descriptor up; the caller closes it.
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

    /// Closes what is held (keeping errno, so that error paths can report it) and takes `fd`.
    void reset(int fd = -1) noexcept {
        if (fd_ >= 0) {
            const int saved = errno;
            ::close(fd_);
            errno = saved;
        }
        fd_ = fd;
    }

  private:
    int fd_ = -1;
};

/// The two ends of a pipe or socketpair. For a pipe `first` reads and `second` writes.
struct FdPair {
    Fd first;
    Fd second;
};

/// An O_CLOEXEC pipe. Throws std::system_error.
FdPair make_pipe();

/// A connected, close-on-exec AF_UNIX pair of `type` (SOCK_STREAM, SOCK_SEQPACKET). Throws std::system_error.
FdPair make_socketpair(int type);

/// A close-on-exec copy of `fd`. Throws std::system_error.
Fd duplicate(int fd);

/// Sets O_NONBLOCK on what `fd` refers to, for everybody who shares it. Throws std::system_error.
void make_nonblocking(int fd);

/// Writes all of `size` bytes to a blocking descriptor, retrying on EINTR and short writes; never raises
/// SIGPIPE on sockets. Throws std::system_error (EPIPE when the reader is gone).
void write_all(int fd, const void* data, std::size_t size);

/// Reads exactly `size` bytes. Returns false if the end comes before the first byte; throws std::system_error
/// on errors and on an end in the middle (EPROTO).
bool read_exact(int fd, void* data, std::size_t size);

}  // namespace minions
