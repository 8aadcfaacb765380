#include <minions/agent/frame.hpp>

#include <algorithm>
#include <utility>

namespace minions::agent {

std::string make_frame(const FrameHead& head, std::string_view payload) {
    std::string frame;
    frame.reserve(header_bytes + payload.size());
    frame.push_back(static_cast<char>(frame_magic));
    frame.push_back(static_cast<char>(head.type));
    frame.push_back(static_cast<char>(head.channel));
    frame.push_back('\0');
    put_u32(frame, head.stream);
    put_u32(frame, head.epoch);
    put_u32(frame, static_cast<std::uint32_t>(payload.size()));
    return frame.append(payload);
}

std::string make_flush() { return std::string(header_bytes + most_payload, '\0'); }

void FrameReader::feed(std::string_view bytes) {
    buffer_.erase(0, std::exchange(at_, 0));
    buffer_.append(bytes);
}

void FrameReader::seek(std::string_view nonce) {
    // The fields of a reset_done are its nonce alone, so these bytes are how it ends; nobody could know them
    // before.
    sought_ = Fields().add(tag::nonce, nonce).bytes();
    at_ = buffer_.size();
}

bool FrameReader::sought() {
    const std::size_t found = buffer_.find(sought_, at_);
    if (found != std::string::npos) {
        at_ = found + sought_.size();
        sought_.clear();
        return true;
    }
    // Its beginning may be the end of what has come so far.
    at_ = std::max(at_, buffer_.size() - std::min(buffer_.size(), sought_.size() - 1));
    return false;
}

std::optional<FrameReader::Frame> FrameReader::next() {
    if (!sought_.empty() && !sought()) return std::nullopt;
    while (at_ < buffer_.size() && buffer_[at_] == '\0') ++at_;
    if (buffer_.size() - at_ < header_bytes) return std::nullopt;
    const char* head = buffer_.data() + at_;
    const auto type = static_cast<std::uint8_t>(head[1]);
    const std::uint32_t size = get_u32(head + 12);
    if (static_cast<std::uint8_t>(head[0]) != frame_magic || type == 0 ||
        type > static_cast<std::uint8_t>(last_frame_type))
        throw ProtocolError("something that is no frame came from the peer");
    if (size > most_payload) throw ProtocolError("a frame is longer than the protocol allows");
    if (buffer_.size() - at_ - header_bytes < size) return std::nullopt;
    Frame frame;
    frame.head = {static_cast<FrameType>(type), static_cast<std::uint8_t>(head[2]), get_u32(head + 4),
                  get_u32(head + 8)};
    frame.payload = std::string_view(head + header_bytes, size);
    at_ += header_bytes + size;
    return frame;
}

}  // namespace minions::agent
