#pragma once

#include "core/plugins/transport.hpp"

#include <minions/base/frame.hpp>
#include <minions/base/sync.hpp>

#include <functional>
#include <mutex>
#include <unordered_map>

namespace minions::core {

/// What a frame between core and a plugin's own process is. Its bytes: this letter, the id of the request
/// (u64, little endian), the id of the plugin call it serves (u64), and the JSON document.
enum class FrameKind : char {
    open = 'o',   ///< to the plugin: parameters of open()
    call = 'c',   ///< to the plugin: the id is the call's
    host = 'h',   ///< to core: the id is the sender's own
    reply = 'r',  ///< to whoever sent the request of that id
};

/// One end of the socket between core and a plugin's process. Thread-safe.
class SocketLink {
  public:
    /// A request of the peer. Called by the thread of receive() and must not block; answer through reply().
    using Handler =
        std::function<void(FrameKind kind, std::uint64_t id, std::uint64_t serves, Message message)>;

    SocketLink(Fd socket, Handler handler) : socket_(std::move(socket)), handler_(std::move(handler)) {}

    /// Sends a request. `done` gets the reply, or an `unavailable` error when the peer is gone. Waits while
    /// the peer does not read.
    void request(FrameKind kind, std::uint64_t id, std::uint64_t serves, Message message, Reply done);
    /// Answers a request of the peer; a peer that is gone is no error.
    void reply(std::uint64_t id, Message message) noexcept;
    /// Whether sending a message of that size waits for nobody.
    bool can_send_now(std::size_t bytes) const;

    /// Receives until the peer is gone or shut_down(); then calls `closed`, and answers every request under
    /// way with `unavailable`. On one thread.
    void receive(const std::function<void()>& closed = [] {});
    void shut_down() noexcept;

    /// What requests are told once the peer is gone.
    void set_reason(std::string reason) { *reason_.lock() = std::move(reason); }

  private:
    void send(FrameKind kind, std::uint64_t id, std::uint64_t serves, const Message& message);
    void dispatch(Frame frame);
    Reply take(std::uint64_t id);

    struct Pending {
        std::unordered_map<std::uint64_t, Reply> replies;
        bool closed = false;
    };
    Fd socket_;
    Handler handler_;
    std::mutex sending_;
    Sync<Pending> pending_;
    Sync<std::string> reason_{"the process of the runtime is gone"};
};

}  // namespace minions::core
