#pragma once

#include "plugins/docker/engine.hpp"

#include <minions/context.hpp>

#include <functional>
#include <string>

namespace minions::docker {

/// Makes an instance's container, pulling the image if the engine lacks it, and returns its id. Used by one
/// thread.
class Create {
  public:
    /// `find` looks the instance's container up by its labels.
    Create(Engine& engine, Context& context, const Config& config, const std::string& installation,
           const Instance& instance, std::function<std::string(const Patience&)> find);

    /// Throws invalid (naming the field), not_found (image), conflict (name), no_space, unavailable.
    /// `like`: the `Config` of a container that it is to resemble in all that its image does not say.
    std::string run(const Value& like = {});

  private:
    std::string post(const std::string& name);
    std::string resolve_conflict(const Reply& reply);
    void pull();

    Engine& engine_;
    Context& context_;
    const Config& config_;
    const std::string& installation_;
    const Instance& instance_;
    std::function<std::string(const Patience&)> find_;
    Value document_;
    bool pulled_ = false;
};

}  // namespace minions::docker
