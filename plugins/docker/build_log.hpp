#pragma once

#include "plugins/docker/json_lines.hpp"

#include <minions/types.hpp>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::docker {

/// Reads the engine's build stream: the log as plain text, how far it is, what it makes on the way, and how
/// it ends. Not thread-safe.
class BuildLog {
  public:
    struct Sinks {
        std::function<void(std::string_view)> text;       ///< pieces of the log, without colours
        std::function<void(const Progress&)> progress;    ///< at each step
        std::function<void(std::string_view)> layer;      ///< short id of an image that this build made
        std::function<void(std::string_view)> container;  ///< short id of a container that runs a step
    };

    explicit BuildLog(Sinks sinks);

    void feed(std::string_view bytes) { lines_.feed(bytes); }
    void finish() { lines_.finish(); }

    /// The built image's id, once the engine told it.
    const std::string& image() const noexcept { return image_; }
    /// Why it failed; nullopt while nothing says so.
    const std::optional<std::string>& failure() const noexcept { return failure_; }
    /// The last lines, at most 20 and 8 KiB, each ended by a newline.
    std::string tail() const;

  private:
    void message(const Value& value);
    void text(std::string_view text);
    void statement(std::string_view text);

    Sinks sinks_;
    JsonLines lines_;
    std::string image_;
    std::optional<std::string> failure_;
    std::string tail_;
    bool cached_ = false;
    bool base_ = false;  ///< the step only names the image to start from
};

/// Without terminal escape sequences (the engine colours standard error).
std::string without_escapes(std::string_view text);

}  // namespace minions::docker
