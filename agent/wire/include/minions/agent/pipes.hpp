#pragma once

#include <minions/agent/link.hpp>

#include <functional>
#include <optional>

namespace minions::agent {

/// Which channel of which stream.
struct ChannelId {
    std::uint32_t stream = 0;
    std::uint8_t channel = 0;
};

/// Sends what a local descriptor yields, as far as the peer grants. Ends with `eof` at the end of the
/// descriptor; an error of reading counts as the end. Belongs to the loop's thread.
class Outlet {
  public:
    /// `done` is called once, when the end has been sent or the peer wants no more; the descriptor is closed
    /// by then. The outlet may be destroyed in it.
    Outlet(Link& link, ChannelId id, Fd from, std::function<void()> done);
    Outlet(const Outlet&) = delete;
    Outlet& operator=(const Outlet&) = delete;
    ~Outlet();

    /// The peer has taken so many bytes. Throws ProtocolError for more than were sent.
    void grant(std::uint32_t bytes);
    /// Sends nothing further, not even the end.
    void stop();
    /// Sends what can be read now and then the end, whoever may still hold the other side.
    void finish_when_empty();
    bool open() const noexcept { return static_cast<bool>(from_); }

    /// Called by the link when it can send: the next frame, or nothing if there is none now.
    bool fill(std::string& frame);

  private:
    void wait_for_data();
    void finish();

    Link& link_;
    ChannelId id_;
    Fd from_;
    std::function<void()> done_;
    std::uint32_t credit_ = initial_window;
    bool watched_ = false;
    std::optional<std::size_t> left_;  ///< what is still sent before the end
};

/// Writes to a local descriptor what comes from the peer, and grants more as it is taken. The writing side of
/// a socket is shut at the end, so a socket may be given as two copies: one to an outlet, one to an inlet.
/// Belongs to the loop's thread.
class Inlet {
  public:
    /// `done` is called once, when all has been written after the end, or nobody reads any more (the peer has
    /// been told); the descriptor is closed by then. The inlet may be destroyed in it.
    Inlet(Link& link, ChannelId id, Fd to, std::function<void()> done);
    Inlet(const Inlet&) = delete;
    Inlet& operator=(const Inlet&) = delete;
    ~Inlet();

    /// Throws ProtocolError for more than was granted.
    void take(std::string_view data);
    /// No more will come.
    void end();
    bool open() const noexcept { return static_cast<bool>(to_); }
    /// Ended because nobody reads, and not because all has been written.
    bool refused() const noexcept { return refused_; }

  private:
    void write_some();
    void refuse();
    void finish();

    Link& link_;
    ChannelId id_;
    Fd to_;
    std::function<void()> done_;
    std::string buffer_;
    std::size_t at_ = 0;
    std::uint32_t taken_ = 0;  ///< written and not granted anew yet
    bool ended_ = false;
    bool refused_ = false;
    bool watched_ = false;
};

}  // namespace minions::agent
