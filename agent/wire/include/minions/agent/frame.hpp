#pragma once

#include <minions/agent/fields.hpp>
#include <minions/agent/protocol.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace minions::agent {

struct FrameHead {
    FrameType type = FrameType::end;
    std::uint8_t channel = 0;
    std::uint32_t stream = 0;
    std::uint32_t epoch = 0;
};

/// One frame as bytes. `payload` is at most most_payload long.
std::string make_frame(const FrameHead& head, std::string_view payload);

/// Zero bytes enough to end any frame that a receiver may be in the middle of; between frames they are
/// skipped.
std::string make_flush();

/// Cuts a byte stream into frames. Not thread-safe.
class FrameReader {
  public:
    struct Frame {
        FrameHead head;
        std::string_view payload;  ///< valid until the next call
    };

    void feed(std::string_view bytes);
    /// The next whole frame, if there is one. Throws ProtocolError where no frame can begin.
    std::optional<Frame> next();
    /// Drops everything up to and with the first `reset_done` frame that carries this nonce; until then
    /// next() finds nothing. What is dropped may be of any form: half a frame, or another boot's.
    void seek(std::string_view nonce);

  private:
    bool sought();

    std::string buffer_;
    std::size_t at_ = 0;  ///< what lies before was given out
    std::string sought_;  ///< the bytes that are looked for; empty: none
};

}  // namespace minions::agent
