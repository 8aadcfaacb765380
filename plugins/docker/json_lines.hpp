#pragma once

#include <minions/value.hpp>

#include <functional>
#include <string>
#include <string_view>

namespace minions::docker {

/// Cuts the engine's streams of JSON documents, one a line, and parses each. Blank lines are skipped; a line
/// that is no JSON is handed on as a string. Not thread-safe.
class JsonLines {
  public:
    using Sink = std::function<void(const Value&)>;

    explicit JsonLines(Sink sink) : sink_(std::move(sink)) {}

    /// Throws Error{internal} for a line that does not end within 16 MiB, and what the sink throws.
    void feed(std::string_view bytes);
    /// The end of the stream: takes a last line that has no newline.
    void finish();

  private:
    void take(std::string_view line);

    Sink sink_;
    std::string partial_;
};

}  // namespace minions::docker
