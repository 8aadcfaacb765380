#include <minions/error.hpp>
#include <minions/http_client/websocket.hpp>
#include <minions/value.hpp>

#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace minions::websocket {
namespace {

constexpr std::size_t read_size = std::size_t{64} << 10;
/// Sent bytes that are worth moving the rest: a reader that never catches up must not make the buffer grow.
constexpr std::size_t compact_size = std::size_t{256} << 10;
constexpr std::size_t max_control = 125;

bool is_control(Opcode opcode) { return static_cast<std::uint8_t>(opcode) >= 8; }

bool is_known(std::uint8_t opcode) { return opcode <= 2 || (opcode >= 8 && opcode <= 10); }

/// A mask has to be unforeseeable only to what chooses the payload (a page's script, against a proxy): random
/// bytes are drawn for many frames at once.
std::array<char, 4> new_mask() {
    thread_local std::array<char, 256> pool;
    thread_local std::size_t used = pool.size();
    if (used == pool.size()) {
        if (::getrandom(pool.data(), pool.size(), 0) != static_cast<ssize_t>(pool.size()))
            throw error_from_errno(errno, "cannot draw random bytes");
        used = 0;
    }
    std::array<char, 4> mask{};
    std::memcpy(mask.data(), pool.data() + used, mask.size());
    used += mask.size();
    return mask;
}

void apply_mask(char* data, std::size_t size, const std::array<char, 4>& mask) {
    std::uint32_t word = 0;
    std::memcpy(&word, mask.data(), sizeof word);
    std::size_t at = 0;
    for (; at + sizeof word <= size; at += sizeof word) {
        std::uint32_t piece = 0;
        std::memcpy(&piece, data + at, sizeof piece);
        piece ^= word;
        std::memcpy(data + at, &piece, sizeof piece);
    }
    for (; at < size; ++at) data[at] = static_cast<char>(data[at] ^ mask[at % mask.size()]);
}

bool may_be_sent(std::uint16_t code) {
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

Message close_message(std::string payload) {
    if (payload.empty()) return {Opcode::close, {}, close_code::none};
    if (payload.size() == 1) throw Broken(close_code::protocol_error, "a close frame with half a code");
    const auto code = static_cast<std::uint16_t>(static_cast<unsigned char>(payload[0]) << 8U |
                                                 static_cast<unsigned char>(payload[1]));
    if (!may_be_sent(code)) throw Broken(close_code::protocol_error, "a close frame with a reserved code");
    payload.erase(0, 2);
    if (!is_utf8(payload)) throw Broken(close_code::invalid_data, "a close reason that is not UTF-8");
    return {Opcode::close, std::move(payload), code};
}

}  // namespace

void append_frame(std::string& out, Role role, Opcode opcode, std::string_view first,
                  std::string_view second) {
    const std::size_t size = first.size() + second.size();
    const unsigned masked = role == Role::client ? 0x80U : 0;
    out += static_cast<char>(0x80U | static_cast<unsigned>(opcode));
    std::size_t length_bytes = 0;
    if (size <= max_control) {
        out += static_cast<char>(masked | size);
    } else {
        length_bytes = size <= 0xffff ? 2 : 8;
        out += static_cast<char>(masked | (length_bytes == 2 ? 126U : 127U));
    }
    while (length_bytes-- > 0) out += static_cast<char>(size >> (8 * length_bytes) & 0xffU);
    if (role == Role::server) {
        out.append(first).append(second);
        return;
    }
    const auto mask = new_mask();
    out.append(mask.data(), mask.size());
    const std::size_t payload = out.size();
    out.append(first).append(second);
    apply_mask(out.data() + payload, size, mask);
}

void Decoder::feed(std::string_view bytes) {
    // Moved once for many small frames.
    if (at_ == in_.size() || at_ >= read_size) {
        in_.erase(0, at_);
        at_ = 0;
    }
    in_ += bytes;
}

std::optional<Decoder::Head> Decoder::read_head() const {
    const std::string_view bytes = std::string_view(in_).substr(at_);
    if (bytes.size() < 2) return std::nullopt;
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    Head head;
    head.last = (byte(0) & 0x80U) != 0;
    if ((byte(0) & 0x70U) != 0 || !is_known(byte(0) & 0x0fU))
        throw Broken(close_code::protocol_error, "a frame of an unknown kind");
    head.opcode = static_cast<Opcode>(byte(0) & 0x0fU);
    const bool masked = (byte(1) & 0x80U) != 0;
    if (masked != (role_ == Role::server))
        throw Broken(close_code::protocol_error,
                     masked ? "a masked frame from a server" : "an unmasked frame");
    std::size_t size = byte(1) & 0x7fU;
    if (is_control(head.opcode) && (size > max_control || !head.last))
        throw Broken(close_code::protocol_error, "a control frame that is long or in fragments");
    const std::size_t length_bytes = size < 126 ? 0 : size == 126 ? 2 : 8;
    head.head_size = 2 + length_bytes + (masked ? 4 : 0);
    if (bytes.size() < 2 + length_bytes) return std::nullopt;
    if (length_bytes > 0) size = 0;
    for (std::size_t i = 0; i < length_bytes; ++i) size = size << 8U | byte(2 + i);
    if (length_bytes == 8 && (byte(2) & 0x80U) != 0)
        throw Broken(close_code::protocol_error, "a frame of an impossible size");
    if (!is_control(head.opcode) && size > max_message_ - parts_.size())
        throw Broken(close_code::too_big,
                     "a message of more than " + std::to_string(max_message_) + " bytes");
    head.size = size;
    if (bytes.size() < head.head_size) return std::nullopt;
    if (masked) {
        head.mask.emplace();
        std::memcpy(head.mask->data(), bytes.data() + 2 + length_bytes, 4);
    }
    return head;
}

std::optional<Message> Decoder::take(const Head& head) {
    std::string payload = in_.substr(at_ + head.head_size, head.size);
    at_ += head.head_size + head.size;
    if (head.mask) apply_mask(payload.data(), payload.size(), *head.mask);
    if (head.opcode == Opcode::close) return close_message(std::move(payload));
    if (is_control(head.opcode)) return Message{head.opcode, std::move(payload), 0};
    if ((head.opcode == Opcode::more) != begun_.has_value())
        throw Broken(close_code::protocol_error,
                     begun_ ? "a message within another" : "a fragment of nothing");
    const Opcode kind = begun_.value_or(head.opcode);
    if (!head.last) {
        begun_ = kind;
        parts_ += payload;
        return std::nullopt;
    }
    if (begun_) {
        payload.insert(0, parts_);
        parts_.clear();
        begun_.reset();
    }
    if (kind == Opcode::text && !is_utf8(payload))
        throw Broken(close_code::invalid_data, "a text message that is not UTF-8");
    return Message{kind, std::move(payload), 0};
}

std::optional<Message> Decoder::next() {
    for (;;) {
        const auto head = read_head();
        if (!head || in_.size() - at_ < head->head_size + head->size) return std::nullopt;
        if (auto message = take(*head)) return message;
    }
}

Socket::Socket(int fd, Role role, std::size_t max_message, std::string_view buffered)
    : fd_(fd), role_(role), decoder_(role, max_message) {
    decoder_.feed(buffered);
}

void Socket::send_text(std::string_view text) {
    if (!closing_) append_frame(out_, role_, Opcode::text, text);
}

void Socket::send_binary(std::uint8_t channel, std::string_view data) {
    const char first = static_cast<char>(channel);
    if (!closing_) append_frame(out_, role_, Opcode::binary, {&first, 1}, data);
}

void Socket::send_close(std::uint16_t code, std::string_view reason) {
    if (std::exchange(closing_, true)) return;
    const char bytes[] = {static_cast<char>(code >> 8U), static_cast<char>(code & 0xffU)};
    append_frame(out_, role_, Opcode::close, {bytes, sizeof bytes},
                 is_utf8(reason) ? reason.substr(0, std::min(reason.size(), max_control - 2)) : "");
}

bool Socket::flush() {
    while (sent_ < out_.size()) {
        const ssize_t sent =
            ::send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            sent_ += static_cast<std::size_t>(sent);
            if (sent_ < compact_size) continue;
            out_.erase(0, std::exchange(sent_, 0));
        } else if (errno != EINTR) {
            return errno == EAGAIN || errno == EWOULDBLOCK;
        }
    }
    out_.clear();
    sent_ = 0;
    return true;
}

bool Socket::receive() {
    thread_local std::array<char, read_size> buffer;
    for (;;) {
        const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got > 0) decoder_.feed({buffer.data(), static_cast<std::size_t>(got)});
        if (got >= 0) return got > 0;
        if (errno != EINTR) return errno == EAGAIN || errno == EWOULDBLOCK;
    }
}

std::optional<Message> Socket::next() {
    for (;;) {
        auto message = decoder_.next();
        if (!message) return message;
        if (message->opcode == Opcode::pong) continue;
        if (message->opcode != Opcode::ping) return message;
        // Who sends pings and reads nothing gets one answer in the end, and not all of them.
        if (!closing_ && unsent() < max_control + 4 + read_size)
            append_frame(out_, role_, Opcode::pong, message->payload);
    }
}

void Socket::finish(std::uint16_t code, std::string_view reason, Deadline until) {
    send_close(code, reason);
    bool told = false;
    char unread[4096];
    for (;;) {
        if (!flush()) return;
        if (unsent() == 0 && !std::exchange(told, true)) ::shutdown(fd_, SHUT_WR);
        pollfd entry{fd_, static_cast<short>(POLLIN | (unsent() > 0 ? POLLOUT : 0)), 0};
        if (poll_until(&entry, 1, until) == 0) return;
        if ((entry.revents & (POLLIN | POLLERR | POLLHUP)) == 0) continue;
        const ssize_t got = ::recv(fd_, unread, sizeof unread, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return;
    }
}

}  // namespace minions::websocket
