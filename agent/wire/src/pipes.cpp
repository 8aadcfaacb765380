#include <minions/agent/pipes.hpp>

#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

namespace minions::agent {

namespace {

constexpr std::size_t piece = std::size_t{32} << 10U;

Fd non_blocking(Fd fd) {
    make_nonblocking(fd.get());
    return fd;
}

}  // namespace

Outlet::Outlet(Link& link, ChannelId id, Fd from, std::function<void()> done)
    : link_(link), id_(id), from_(non_blocking(std::move(from))), done_(std::move(done)) {
    wait_for_data();
}

Outlet::~Outlet() {
    link_.forget(*this);
    if (from_) link_.loop().forget(from_.get());
}

void Outlet::wait_for_data() {
    if (watched_) {
        link_.loop().change(from_.get(), EPOLLIN | EPOLLONESHOT);
        return;
    }
    watched_ = link_.loop().watch(from_.get(), EPOLLIN | EPOLLONESHOT,
                                  [this](std::uint32_t) { link_.ready(*this); });
    if (!watched_) link_.ready(*this);
}

void Outlet::grant(std::uint32_t bytes) {
    if (bytes > initial_window - credit_) throw ProtocolError("the peer grants more than it was sent");
    if (std::exchange(credit_, credit_ + bytes) != 0 || !from_) return;
    left_ ? link_.ready(*this) : wait_for_data();
}

void Outlet::stop() {
    if (!from_) return;
    ::shutdown(from_.get(), SHUT_RD);  // of a socket: whoever writes to it learns that nobody reads
    finish();
}

void Outlet::finish_when_empty() {
    if (!from_ || left_) return;
    int now = 0;
    if (::ioctl(from_.get(), FIONREAD, &now) != 0) now = 0;
    left_ = static_cast<std::size_t>(now);
    if (credit_ > 0) link_.ready(*this);
}

void Outlet::finish() {
    link_.forget(*this);
    link_.loop().forget(from_.get());
    from_.reset();
    const auto done = std::move(done_);
    done();  // may destroy this
}

bool Outlet::fill(std::string& frame) {
    // Without credit: grant() goes on.
    if (!from_ || credit_ == 0) return false;
    char buffer[piece];
    const std::size_t most = std::min<std::size_t>({piece, credit_, left_.value_or(piece)});
    const ssize_t got = most == 0 ? 0 : ::read(from_.get(), buffer, most);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        left_ ? link_.ready(*this) : wait_for_data();
        return false;
    }
    if (got <= 0) {  // a terminal whose last user is gone reads as EIO
        frame = make_frame({FrameType::eof, id_.channel, id_.stream, link_.epoch()}, {});
        finish();
        return true;
    }
    frame = make_frame({FrameType::data, id_.channel, id_.stream, link_.epoch()},
                       {buffer, static_cast<std::size_t>(got)});
    credit_ -= static_cast<std::uint32_t>(got);
    if (left_) *left_ -= static_cast<std::size_t>(got);
    if (credit_ > 0) {
        if (left_ || static_cast<std::size_t>(got) == most)
            link_.ready(*this);
        else
            wait_for_data();
    }
    return true;
}

Inlet::Inlet(Link& link, ChannelId id, Fd to, std::function<void()> done)
    : link_(link), id_(id), to_(non_blocking(std::move(to))), done_(std::move(done)) {
    // A reader that goes away shows at once, so that a peer that waits for input of its own learns of it.
    watched_ = link_.loop().watch(to_.get(), 0, [this](std::uint32_t events) {
        if ((events & (EPOLLERR | EPOLLHUP)) != 0) return refuse();
        write_some();
    });
}

Inlet::~Inlet() {
    if (to_) link_.loop().forget(to_.get());
}

void Inlet::take(std::string_view data) {
    if (!to_) return;  // sent before the peer knew that nobody reads
    if (data.size() > initial_window - taken_ - (buffer_.size() - at_) || ended_)
        throw ProtocolError("the peer sent more than it was granted");
    if (at_ == buffer_.size()) {
        buffer_.clear();
        at_ = 0;
    }
    buffer_.append(data);
    write_some();
}

void Inlet::end() {
    if (!to_ || std::exchange(ended_, true)) return;
    write_some();
}

void Inlet::write_some() {
    while (at_ < buffer_.size()) {
        const ssize_t put = ::write(to_.get(), buffer_.data() + at_, buffer_.size() - at_);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno == EAGAIN) break;
        if (put < 0) return refuse();
        at_ += static_cast<std::size_t>(put);
        taken_ += static_cast<std::uint32_t>(put);
    }
    // In large steps: a grant for each piece would double the number of frames.
    if (taken_ >= initial_window / 4 && !ended_) {
        std::string bytes;
        put_u32(bytes, std::exchange(taken_, 0));
        link_.send(FrameType::window, id_.stream, id_.channel, bytes);
    }
    const bool all = at_ == buffer_.size();
    if (all && ended_) return finish();
    if (watched_) link_.loop().change(to_.get(), all ? 0U : std::uint32_t{EPOLLOUT});
}

/// Nobody reads any more.
void Inlet::refuse() {
    refused_ = true;
    if (!ended_) link_.send(FrameType::stop, id_.stream, id_.channel, {});
    finish();
}

void Inlet::finish() {
    link_.loop().forget(to_.get());
    ::shutdown(to_.get(), SHUT_WR);
    to_.reset();
    buffer_ = {};
    at_ = 0;
    const auto done = std::move(done_);
    done();  // may destroy this
}

}  // namespace minions::agent
