#include "plugins/docker/reader.hpp"

#include <minions/base/deadline.hpp>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <system_error>

namespace minions::docker {

Patience Patience::at_most(milliseconds span) const {
    Patience shorter = *this;
    shorter.deadline = std::min(deadline, deadline_in(span));
    return shorter;
}

Patience Patience::for_cleanup(milliseconds span) { return {deadline_in(span), -1}; }

ssize_t write_some(int fd, std::string_view bytes) {
    for (;;) {
        ssize_t written = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        // A pipe that poll() called writable takes PIPE_BUF bytes without blocking; its mode is not ours to
        // change, as the other side may share the open file.
        if (written < 0 && errno == ENOTSOCK) {
            written = ::write(fd, bytes.data(), std::min<std::size_t>(bytes.size(), PIPE_BUF));
        }
        if (written >= 0) return written;
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
        if (errno == EPIPE || errno == ECONNRESET) return -1;
        throw std::system_error(errno, std::generic_category(), "cannot write the output");
    }
}

bool write_patiently(int fd, std::string_view bytes, const Patience& patience) {
    while (!bytes.empty()) {
        pollfd ready[] = {{fd, POLLOUT, 0}, {patience.cancel_fd, POLLIN, 0}};
        if (poll_until(ready, 2, patience.deadline) == 0) {
            throw Error(Code::deadline, "the reader of the output was too slow for the call's deadline");
        }
        if (ready[1].revents != 0) {
            if (reader_gone(fd)) return false;
            throw Error(Code::cancelled, "the call was cancelled");
        }
        const ssize_t written = write_some(fd, bytes);
        if (written < 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
}

Interrupts::Interrupts(int cancel_fd) : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_) throw std::system_error(errno, std::generic_category(), "epoll_create1");
    epoll_event event{};
    event.events = EPOLLIN;
    if (cancel_fd >= 0 && epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, cancel_fd, &event) != 0) {
        throw std::system_error(errno, std::generic_category(), "epoll_ctl");
    }
}

void Interrupts::watch_reader(int fd) {
    epoll_event event{};  // EPOLLERR and EPOLLHUP come unasked
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0 && errno != EPERM && errno != EEXIST) {
        throw std::system_error(errno, std::generic_category(), "epoll_ctl");
    }
}

bool reader_gone(int fd) noexcept {
    pollfd state{fd, 0, 0};
    return fd >= 0 && ::poll(&state, 1, 0) > 0 && (state.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

NoSigpipe::NoSigpipe() {
    sigset_t pipe;
    sigset_t pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before_);
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
}

NoSigpipe::~NoSigpipe() {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    const timespec now{};
    if (!was_pending_) {
        while (sigtimedwait(&pipe, nullptr, &now) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace minions::docker
