#include "core/http/body.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace minions::core::http {
namespace {

constexpr std::size_t max_line = 256;
constexpr std::size_t max_trailers = 4096;

[[noreturn]] void refuse(const char* message) { throw Error(Code::invalid, message); }

[[noreturn]] void refuse_size(std::uint64_t max) {
    if (max == 0) throw Error(Code::too_large, "this path takes no body", "send the request without one");
    throw Error(Code::too_large, fmt::format("the request's body is larger than {} bytes", max));
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// "1a" or "1a;extension"; extensions mean nothing here.
std::uint64_t parse_chunk_size(std::string_view line) {
    std::uint64_t size = 0;
    std::size_t digits = 0;
    while (digits < line.size() && hex_digit(line[digits]) >= 0) {
        if (digits == 15) refuse("a chunk's size is too large");
        size = size * 16 + static_cast<std::uint64_t>(hex_digit(line[digits++]));
    }
    if (digits == 0 || (digits < line.size() && line[digits] != ';'))
        refuse("a chunk's size is not a hexadecimal number");
    for (const char c : line) {
        if (static_cast<unsigned char>(c) < ' ' && c != '\t')
            refuse("a chunk's size line holds a control character");
    }
    return size;
}

}  // namespace

BodyDecoder::BodyDecoder(const Framing& framing, std::uint64_t max) : chunked_(framing.chunked), max_(max) {
    if (chunked_) {
        state_ = State::size_line;
        return;
    }
    left_ = framing.length.value_or(0);
    if (left_ > max_) refuse_size(max_);
    state_ = left_ > 0 ? State::data : State::done;
}

std::size_t BodyDecoder::feed(std::string_view in, std::string& out, std::size_t room) {
    std::size_t used = 0;
    while (used < in.size() && state_ != State::done) {
        const std::string_view rest = in.substr(used);
        if (state_ == State::data) {
            if (room == 0) break;
            const auto count = static_cast<std::size_t>(std::min<std::uint64_t>({left_, rest.size(), room}));
            out.append(rest.substr(0, count));
            used += count;
            room -= count;
            left_ -= count;
            taken_ += count;
            if (left_ == 0) state_ = chunked_ ? State::data_end : State::done;
            continue;
        }
        const std::size_t end = rest.find('\n');
        const std::size_t count = end == std::string_view::npos ? rest.size() : end + 1;
        if (line_.size() + count > max_line) refuse("a line between chunks is too long");
        line_.append(rest.substr(0, count));
        used += count;
        if (end == std::string_view::npos) break;
        if (line_.size() < 2 || line_[line_.size() - 2] != '\r')
            refuse("a line between chunks does not end with CR LF");
        take_line(std::string_view(line_).substr(0, line_.size() - 2));
        line_.clear();
    }
    return used;
}

void BodyDecoder::take_line(std::string_view line) {
    switch (state_) {
        case State::data_end:
            if (!line.empty()) refuse("a chunk is longer than its size says");
            state_ = State::size_line;
            return;
        case State::size_line:
            left_ = parse_chunk_size(line);
            if (left_ > max_ - taken_) refuse_size(max_);
            state_ = left_ > 0 ? State::data : State::trailer;
            return;
        case State::trailer:
            trailer_bytes_ += line.size() + 2;
            if (trailer_bytes_ > max_trailers) refuse("the trailers after the last chunk are too large");
            if (line.empty()) state_ = State::done;
            return;
        case State::data:
        case State::done:
            return;
    }
}

}  // namespace minions::core::http
