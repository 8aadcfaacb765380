#include "core/plugins/socket_link.hpp"

#include <minions/error.hpp>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <stdexcept>

namespace minions::core {
namespace {

constexpr std::size_t header_bytes = 17;
constexpr std::size_t most_bytes = (std::size_t{64} << 20) + header_bytes;
/// Well below the default buffer of a socket (208 KiB): so much can always be sent into an empty one.
constexpr std::size_t surely_fits = 65536;

void put(std::string& out, std::uint64_t number) {
    for (int i = 0; i < 8; ++i) out += static_cast<char>((number >> (8 * i)) & 0xffU);
}

std::uint64_t get(std::string_view from) {
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        number |= static_cast<std::uint64_t>(static_cast<unsigned char>(from[i])) << (8 * i);
    }
    return number;
}

}  // namespace

void SocketLink::send(FrameKind kind, std::uint64_t id, std::uint64_t serves, const Message& message) {
    std::string bytes;
    bytes.reserve(header_bytes + message.text.size());
    bytes += static_cast<char>(kind);
    put(bytes, id);
    put(bytes, serves);
    bytes += message.text;
    std::vector<int> fds;
    for (const auto& fd : message.fds) fds.push_back(fd.get());
    if (fds.size() > most_frame_fds) throw std::runtime_error("a message carries too many descriptors");
    if (bytes.size() > most_bytes) throw std::runtime_error("a message is larger than 64 MiB");
    const std::lock_guard lock(sending_);
    send_frame(socket_.get(), bytes, fds);
}

bool SocketLink::can_send_now(std::size_t bytes) const {
    int queued = 0;
    return bytes <= surely_fits && ::ioctl(socket_.get(), SIOCOUTQ, &queued) == 0 &&
           static_cast<std::size_t>(queued) <= surely_fits;
}

Reply SocketLink::take(std::uint64_t id) {
    const auto pending = pending_.lock();
    const auto found = pending->replies.find(id);
    if (found == pending->replies.end()) return nullptr;
    Reply done = std::move(found->second);
    pending->replies.erase(found);
    return done;
}

void SocketLink::request(FrameKind kind, std::uint64_t id, std::uint64_t serves, Message message,
                         Reply done) {
    bool closed = false;
    {
        const auto pending = pending_.lock();
        closed = pending->closed;
        if (!closed) pending->replies.emplace(id, done);
    }
    if (closed) return done({unavailable_reply(*reason_.lock()), {}});
    try {
        send(kind, id, serves, message);
    } catch (const std::exception& error) {
        if (const Reply mine = take(id)) {
            mine({unavailable_reply(std::string("cannot reach the runtime's process: ") + error.what()), {}});
        }
    }
}

void SocketLink::reply(std::uint64_t id, Message message) noexcept {
    try {
        send(FrameKind::reply, id, 0, message);
    } catch (...) {
        // The peer is gone, and receive() notices; or the reply cannot be sent, which its caller must hear.
        try {
            send(FrameKind::reply, id, 0, {unavailable_reply("the reply could not be sent"), {}});
        } catch (...) {
        }
    }
}

void SocketLink::dispatch(Frame frame) {
    if (frame.bytes.size() < header_bytes) throw std::runtime_error("a frame is too short");
    const auto kind = static_cast<FrameKind>(frame.bytes[0]);
    const std::string_view bytes = frame.bytes;
    const auto id = get(bytes.substr(1));
    const auto serves = get(bytes.substr(9));
    Message message{frame.bytes.substr(header_bytes), std::move(frame.fds)};
    if (frame.fds_lost) {
        message.text = unavailable_reply("the receiving process has too many files open");
        if (kind != FrameKind::reply) return reply(id, std::move(message));
    }
    if (kind != FrameKind::reply) return handler_(kind, id, serves, std::move(message));
    if (const Reply done = take(id)) done(std::move(message));
}

void SocketLink::receive(const std::function<void()>& closed) {
    try {
        while (auto frame = recv_frame(socket_.get(), most_bytes)) dispatch(std::move(*frame));
    } catch (const std::exception&) {
        // A stream that is out of step is over, as one that has ended.
    }
    shut_down();
    closed();
    std::unordered_map<std::uint64_t, Reply> left;
    {
        const auto pending = pending_.lock();
        pending->closed = true;
        left.swap(pending->replies);
    }
    const std::string text = unavailable_reply(*reason_.lock());
    for (const auto& [id, done] : left) done({text, {}});
}

void SocketLink::shut_down() noexcept { ::shutdown(socket_.get(), SHUT_RDWR); }

}  // namespace minions::core
