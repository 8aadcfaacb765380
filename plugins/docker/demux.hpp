#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace minions::docker {

enum class Stream { in = 0, out = 1, error = 2 };

/// Takes apart the engine's multiplexed stream of a container without a terminal: frames of an 8 byte header
/// (stream, three zeros, size as big-endian 32 bits) and the payload. Keeps no payload: each piece is handed
/// on as it comes. Not thread-safe.
class Demultiplexer {
  public:
    using Sink = std::function<void(Stream, std::string_view)>;

    explicit Demultiplexer(Sink sink) : sink_(std::move(sink)) {}

    /// Throws Error{internal} when the bytes cannot be such a stream.
    void feed(std::string_view bytes);

    /// The stream is over. Throws Error{unavailable} when it was cut inside a frame.
    void finish() const;

  private:
    void take_header();

    Sink sink_;
    unsigned char header_[8] = {};
    std::size_t have_ = 0;
    std::uint32_t left_ = 0;
    Stream stream_ = Stream::out;
};

}  // namespace minions::docker
