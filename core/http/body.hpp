#pragma once

#include "core/http/head.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace minions::core::http {

/// Takes a request's body out of the bytes of its connection, as they come.
class BodyDecoder {
  public:
    BodyDecoder() = default;
    /// `max` bounds the decoded body: a larger length is refused here, larger chunks in feed(). Throws
    /// Error{too_large}.
    BodyDecoder(const Framing& framing, std::uint64_t max);

    bool done() const noexcept { return state_ == State::done; }
    std::uint64_t taken() const noexcept { return taken_; }

    /// Appends at most `room` decoded bytes to `out` and returns how many bytes of `in` were used; what is
    /// left begins the next request once done(). Throws Error: invalid, too_large.
    std::size_t feed(std::string_view in, std::string& out, std::size_t room);

  private:
    enum class State : std::uint8_t { data, size_line, data_end, trailer, done };

    void take_line(std::string_view line);

    State state_ = State::done;
    bool chunked_ = false;
    std::uint64_t max_ = 0;
    std::uint64_t left_ = 0;   // of the chunk, or of the whole body
    std::uint64_t taken_ = 0;  // decoded so far
    std::size_t trailer_bytes_ = 0;
    std::string line_;  // a size line or trailer that is not complete
};

}  // namespace minions::core::http
