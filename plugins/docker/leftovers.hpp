#pragma once

#include "plugins/docker/removal.hpp"

#include <minions/base/sync.hpp>

#include <shared_mutex>
#include <vector>

namespace minions::docker {

/// What builds left on the engine and could not remove themselves. [any thread]
class Leftovers {
  public:
    /// A build holds this from before its request until after its own cleaning: nothing is removed under it.
    /// Throws deadline.
    std::shared_lock<std::shared_timed_mutex> building(const Patience& patience);

    void add(const std::vector<Leftover>& left);

    /// Removes all that was added, and whatever else carries our label and is nobody's. Returns false if a
    /// build is under way, which is to be asked again later. What cannot be removed is kept for the next
    /// time, and why is thrown.
    bool remove(Engine& engine, const Patience& patience, const std::string& installation);

  private:
    std::shared_timed_mutex builds_;
    Sync<std::vector<Leftover>> left_;
};

}  // namespace minions::docker
