#include <minions/agent/link.hpp>
#include <minions/agent/pipes.hpp>

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <system_error>

namespace minions::agent {

namespace {
/// More than any peer that reads its channel lets pile up: answers and grants are small.
constexpr std::size_t most_queued = std::size_t{8} << 20U;
/// Frames read or written before the others of the loop have their turn.
constexpr int most_at_once = 16;
}  // namespace

Link::Link(Loop& loop, Fd fd, Events events) : loop_(loop), fd_(std::move(fd)), events_(std::move(events)) {
    make_nonblocking(fd_.get());
    if (!loop_.watch(fd_.get(), EPOLLIN, [this](std::uint32_t what) { on_ready(what); }))
        throw std::system_error(EINVAL, std::generic_category(), "the transport cannot be waited for");
}

Link::~Link() { loop_.forget(fd_.get()); }

void Link::send(FrameType type, std::uint32_t stream, std::uint8_t channel, std::string_view payload) {
    send_raw(make_frame({type, channel, stream, epoch_}, payload));
}

void Link::send_raw(std::string bytes) {
    if (lost_) return;
    queued_bytes_ += bytes.size();
    queue_.push_back(std::move(bytes));
    if (queued_bytes_ > most_queued) {
        // Not from within the caller, who may be walking what `lost` removes.
        loop_.post([this] { lose("the peer does not read"); });
        return;
    }
    want_write(true);
}

void Link::drop_queue() {
    queue_.clear();
    queued_bytes_ = 0;
    sources_.clear();
}

void Link::ready(Outlet& source) {
    if (lost_ || std::find(sources_.begin(), sources_.end(), &source) != sources_.end()) return;
    sources_.push_back(&source);
    want_write(true);
}

void Link::forget(Outlet& source) noexcept { std::erase(sources_, &source); }

void Link::want_write(bool wanted) {
    if (std::exchange(wants_write_, wanted) == wanted || lost_) return;
    loop_.change(fd_.get(), wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void Link::on_ready(std::uint32_t events) {
    try {
        if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) receive();
        if (!lost_ && (events & EPOLLOUT) != 0) transmit();
    } catch (const ProtocolError& error) {
        lose(error.what());
    }
}

void Link::receive() {
    std::array<char, most_payload>
        buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): zeroing costs as much as reading
    for (int i = 0; i < most_at_once && !lost_; ++i) {
        const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return;
        if (got < 0) return lose(std::strerror(errno));
        if (got == 0) return lose("the peer closed");
        reader_.feed({buffer.data(), static_cast<std::size_t>(got)});
        while (const auto frame = lost_ ? std::nullopt : reader_.next())
            events_.frame(frame->head, frame->payload);
        if (static_cast<std::size_t>(got) < buffer.size()) return;
    }
}

/// Makes the next frame to write the current one. False if there is none.
bool Link::next_frame() {
    current_.clear();
    at_ = 0;
    if (!queue_.empty()) {
        current_ = std::move(queue_.front());
        queue_.pop_front();
        queued_bytes_ -= current_.size();
        return true;
    }
    while (!sources_.empty()) {
        Outlet* source = sources_.front();
        sources_.pop_front();
        if (source->fill(current_)) return true;
    }
    return false;
}

void Link::transmit() {
    for (int i = 0; i < most_at_once; ++i) {
        if (at_ == current_.size() && !next_frame()) return want_write(false);
        const ssize_t put = ::write(fd_.get(), current_.data() + at_, current_.size() - at_);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno == EAGAIN) return;
        if (put < 0) return lose(std::strerror(errno));
        at_ += static_cast<std::size_t>(put);
    }
}

void Link::lose(const std::string& reason) {
    if (std::exchange(lost_, true)) return;
    loop_.forget(fd_.get());
    drop_queue();
    events_.lost(reason);
}

}  // namespace minions::agent
