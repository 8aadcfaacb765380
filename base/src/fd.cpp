#include <minions/base/fd.hpp>

#include <fcntl.h>
#include <sys/socket.h>

#include <system_error>

namespace minions {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

}  // namespace

FdPair make_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
    return {Fd(ends[0]), Fd(ends[1])};
}

FdPair make_socketpair(int type) {
    int ends[2];
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    return {Fd(ends[0]), Fd(ends[1])};
}

Fd duplicate(int fd) {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) fail("dup");
    return Fd(copy);
}

void make_nonblocking(int fd) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) fail("fcntl");
}

void write_all(int fd, const void* data, std::size_t size) {
    const char* next = static_cast<const char*>(data);
    while (size > 0) {
        ssize_t written = ::send(fd, next, size, MSG_NOSIGNAL);
        if (written < 0 && errno == ENOTSOCK) written = ::write(fd, next, size);
        if (written < 0) {
            if (errno == EINTR) continue;
            fail("write");
        }
        next += written;
        size -= static_cast<std::size_t>(written);
    }
}

bool read_exact(int fd, void* data, std::size_t size) {
    char* next = static_cast<char*>(data);
    for (std::size_t left = size; left > 0;) {
        const ssize_t got = ::read(fd, next, left);
        if (got < 0) {
            if (errno == EINTR) continue;
            fail("read");
        }
        if (got == 0) {
            if (left == size) return false;
            throw std::system_error(EPROTO, std::generic_category(), "read");
        }
        next += got;
        left -= static_cast<std::size_t>(got);
    }
    return true;
}

}  // namespace minions
