#pragma once

#include "plugins/docker/engine.hpp"

#include <minions/context.hpp>

#include <string>

/// Removing what is ours from an engine, and nothing else: each function looks at the object first. What is
/// gone already is no error. [any thread]
namespace minions::docker {

/// An instance's container, by its labels; empty if there is none.
std::string find_container(Engine& engine, const Patience& patience, const std::string& installation,
                           const std::string& instance);

/// Removes a container if its labels say that it is that instance's; logs if they do not.
void remove_container(Engine& engine, const Patience& patience, Host& host, const std::string& instance,
                      const std::string& container);

/// Removes every container of an instance.
void remove_containers(Engine& engine, const Patience& patience, Host& host, const std::string& instance);

/// Removes an image that this installation built, by tag or id. Returns false if it carries no label of ours
/// and stays. Throws conflict when it is in use.
bool remove_built_image(Engine& engine, const Patience& patience, const std::string& installation,
                        const std::string& image);

/// Something that a build made: its image, or on the way an image without a name or the container of a step.
/// Journalled by these kinds as soon as its key is known.
struct Leftover {
    std::string kind;
    std::string key;  ///< a tag, otherwise the engine's short id
};
inline constexpr const char* image_kind = "image";
inline constexpr const char* layer_kind = "image-layer";
inline constexpr const char* step_kind = "build-container";

/// Removes one. What turns out to be something else, or part of an image that is kept, stays. Throws conflict
/// while a build uses it, invalid for a kind that is none of these.
void remove_leftover(Engine& engine, const Patience& patience, const std::string& installation,
                     const Leftover& leftover);

/// Two that remove, by label, what builds left and nobody could write down, as the daemon or the engine died
/// in the middle. No build may be under way. The containers of steps; images that have neither a name nor
/// children, again and again, with those that others use staying.
void sweep_steps(Engine& engine, const Patience& patience, const std::string& installation);
void sweep_layers(Engine& engine, const Patience& patience, const std::string& installation);

/// Marks the containers of build steps: an address that their /etc/hosts gets, "name:address". The label that
/// marks what is ours cannot be given to them from outside.
std::string step_mark(const std::string& installation);

}  // namespace minions::docker
