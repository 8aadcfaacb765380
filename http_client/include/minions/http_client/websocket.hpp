#pragma once

#include <minions/base/fd.hpp>
#include <minions/http_client/client.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

/// WebSocket (RFC 6455, version 13, without extensions), both ends: the daemon's and the command line's.
namespace minions::websocket {

enum class Opcode : std::uint8_t { more = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

/// Which end this is: a client masks what it sends, and a server refuses what is not masked.
enum class Role : std::uint8_t { client, server };

/// Why a connection is closed (RFC 6455, 7.4.1).
namespace close_code {
constexpr std::uint16_t normal = 1000;
constexpr std::uint16_t going_away = 1001;
constexpr std::uint16_t protocol_error = 1002;
constexpr std::uint16_t unsupported_data = 1003;
constexpr std::uint16_t none = 1005;  ///< a close frame without a code; never sent
constexpr std::uint16_t invalid_data = 1007;
constexpr std::uint16_t too_big = 1009;
}  // namespace close_code

/// The peer broke the protocol: what() is for the close frame, with this code.
class Broken : public std::runtime_error {
  public:
    Broken(std::uint16_t code, const std::string& what) : std::runtime_error(what), code_(code) {}
    std::uint16_t code() const noexcept { return code_; }

  private:
    std::uint16_t code_;
};

struct Message {
    Opcode opcode = Opcode::text;  ///< never `more`
    std::string payload;           ///< of a close frame: its reason
    std::uint16_t code = 0;        ///< of a close frame
};

/// One complete frame. `first` and `second` are its payload.
void append_frame(std::string& out, Role role, Opcode opcode, std::string_view first,
                  std::string_view second = {});

/// Takes bytes as they come and gives messages: fragments are put together, control frames come between
/// them. After Broken nothing further can be had.
class Decoder {
  public:
    /// `max_message` bounds a message's payload, and with that what is kept here.
    Decoder(Role role, std::size_t max_message) : role_(role), max_message_(max_message) {}

    void feed(std::string_view bytes);
    /// The next complete message; nothing while one is incomplete. Throws Broken: protocol_error, too_big (as
    /// soon as a head says so), invalid_data (text that is no UTF-8).
    std::optional<Message> next();

  private:
    struct Head {
        bool last = false;
        Opcode opcode = Opcode::more;
        std::size_t size = 0;
        std::size_t head_size = 0;
        std::optional<std::array<char, 4>> mask;
    };
    std::optional<Head> read_head() const;
    std::optional<Message> take(const Head& head);

    Role role_;
    std::size_t max_message_;
    std::string in_;
    std::size_t at_ = 0;
    std::optional<Opcode> begun_;  ///< of a message whose last fragment is missing
    std::string parts_;
};

/// A WebSocket over a connected descriptor. Never blocks: the owner polls. Used by one thread.
class Socket {
  public:
    /// `fd` is borrowed; `buffered` is what has been read from it already.
    Socket(int fd, Role role, std::size_t max_message, std::string_view buffered);

    int fd() const noexcept { return fd_; }

    void send_text(std::string_view text);
    void send_binary(std::uint8_t channel, std::string_view data);
    /// The last frame that goes out; what is sent later is dropped. Idempotent.
    void send_close(std::uint16_t code, std::string_view reason);

    /// Bytes that the kernel has not taken yet.
    std::size_t unsent() const noexcept { return out_.size() - sent_; }
    /// Writes what the kernel takes. False if the peer is gone.
    bool flush();
    /// Reads once. False at the end of the connection.
    bool receive();
    /// The next text, binary or close message that has arrived. Pings are answered. Throws Broken.
    std::optional<Message> next();

    /// Says goodbye, and lets the peer read it: closing while something of it is unread would throw away what
    /// it has not read. Returns at its end of the connection, or at `until`.
    void finish(std::uint16_t code, std::string_view reason, Deadline until);

  private:
    int fd_;
    Role role_;
    Decoder decoder_;
    std::string out_;
    std::size_t sent_ = 0;
    bool closing_ = false;
};

// The handshake.

/// A fresh Sec-WebSocket-Key.
std::string new_key();
/// The Sec-WebSocket-Accept of a key.
std::string accept_of(std::string_view key);
/// Whether a text may be a Sec-WebSocket-Key: 16 bytes in base64.
bool is_key(std::string_view text);

/// The headers of a request that asks for `protocol`.
http::Headers request_headers(const std::string& key, const std::string& protocol);
/// Throws Error{internal} unless the reply, a 101, gives what request_headers() asked for.
void check_reply(const http::Response& reply, const std::string& key, const std::string& protocol);

}  // namespace minions::websocket
