#pragma once

#include <minions/agent/frame.hpp>
#include <minions/agent/loop.hpp>

#include <deque>
#include <functional>
#include <string>
#include <string_view>

namespace minions::agent {

class Outlet;

/// Frames over one descriptor, in both directions. Small frames overtake data; data is read from its source
/// only when it can be sent, so that nothing piles up in here and a slow peer slows the source. Belongs to
/// the loop's thread.
class Link {
  public:
    struct Events {
        std::function<void(const FrameHead&, std::string_view payload)> frame;  ///< may throw ProtocolError
        /// The peer is gone or broke the protocol. Once; destroy the link later, not from within.
        std::function<void(const std::string& reason)> lost;
    };

    /// `fd` is a socket or a character device; it is made non-blocking.
    Link(Loop& loop, Fd fd, Events events);
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    ~Link();

    /// Every frame sent from now on carries this epoch.
    void set_epoch(std::uint32_t epoch) noexcept { epoch_ = epoch; }
    std::uint32_t epoch() const noexcept { return epoch_; }

    /// Queues a frame that is not data. What is lost with the link is lost silently: `lost` tells of it.
    void send(FrameType type, std::uint32_t stream, std::uint8_t channel, std::string_view payload);
    void send(FrameType type, std::uint32_t stream, const Fields& fields) {
        send(type, stream, 0, fields.bytes());
    }
    /// Queues bytes as they are (a flush).
    void send_raw(std::string bytes);
    /// Everything that waits is dropped, but for the frame that is half sent.
    void drop_queue();
    /// See FrameReader::seek().
    void seek(std::string_view nonce) { reader_.seek(nonce); }

    /// The source has, or may have, data to send. Asked in turn with all others.
    void ready(Outlet& source);
    void forget(Outlet& source) noexcept;
    /// True while nothing waits to be sent.
    bool idle() const noexcept { return at_ == current_.size() && queue_.empty() && sources_.empty(); }

    Loop& loop() noexcept { return loop_; }

  private:
    void on_ready(std::uint32_t events);
    void receive();
    void transmit();
    bool next_frame();
    void want_write(bool wanted);
    void lose(const std::string& reason);

    Loop& loop_;
    Fd fd_;
    Events events_;
    FrameReader reader_;
    std::uint32_t epoch_ = 0;
    std::string current_;  ///< the frame that is being written, from at_ on
    std::size_t at_ = 0;
    std::deque<std::string> queue_;
    std::size_t queued_bytes_ = 0;
    std::deque<Outlet*> sources_;
    bool wants_write_ = false;
    bool lost_ = false;
};

}  // namespace minions::agent
