#pragma once

#include "plugins/docker/removal.hpp"

#include <minions/context.hpp>

#include <string>

namespace minions::docker {

/// The name of the image that a copy runs from, which is its own.
std::string copy_image(const std::string& instance);

/// An image with a container's files, for one copy: exported from the engine and imported to it again, piece
/// by piece. It has none of the container's configuration, as that has secrets in it. What runs is paused
/// meanwhile. Used by one thread.
class Copy {
  public:
    Copy(Engine& engine, Context& context, const std::string& installation, const std::string& instance);

    /// Returns the image. `running`: the container has to be paused. Both, image and pause, are journalled
    /// before they are made; if it throws, the container runs again and no image is left, as far as the
    /// engine lets it. Throws unavailable, no_space, cancelled, deadline.
    std::string run(const std::string& container, bool running);

    /// What a failed run() has made and could not remove; empty if nothing.
    const std::string& left_over() const noexcept { return image_; }

  private:
    void pause(const std::string& container);
    void resume(const std::string& container);
    void transfer(const std::string& container);
    void give_name();
    void clean_up(const std::string& paused) noexcept;

    Engine& engine_;
    Context& context_;
    const std::string installation_;
    const std::string name_;
    std::string image_;  ///< once it is there
};

/// Lets a container run on that was paused for a copy. One that is not paused, is gone or is nobody's of this
/// installation stays as it is. Repeatable.
void end_pause(Engine& engine, const Patience& patience, const std::string& installation,
               const std::string& container);
inline constexpr const char* pause_kind = "copy-pause";  ///< key: the container's id

}  // namespace minions::docker
