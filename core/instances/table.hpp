#pragma once

#include "core/instances/instances.hpp"

#include <minions/base/sync.hpp>

#include <condition_variable>
#include <map>
#include <unordered_map>

namespace minions::core {

/// What the runtime said about an instance while an operation had its transition.
struct HeldBack {
    std::uint64_t boot = 0;
    InstanceFacts facts;
};

/// The instances in memory: what every read is served from. Changed only by hooks of commits (so in their
/// order), read by anybody. [any thread]
class InstanceTable {
  public:
    InstanceViewPtr find(std::string_view id) const;
    InstanceViewPtr find(const InstanceKey& key) const;
    ListPage list(const ListQuery& query) const;
    std::vector<InstanceViewPtr> views(const ListQuery& query) const;
    std::vector<InstanceViewPtr> all() const;
    std::map<std::pair<std::string, Status>, std::size_t> counts() const;

    /// Adds the view, or replaces the one of the same id (with its name).
    void put(InstanceViewPtr view);
    void remove(std::string_view id);
    /// Keeps the JSON as it is: the state is not shown.
    void set_state(std::string_view id, const RuntimeState& state);

  private:
    using Order = std::pair<std::string, std::string>;  ///< created_at, id
    struct State {
        std::unordered_map<std::string, InstanceViewPtr> by_id;
        std::map<std::pair<std::string, std::string>, InstanceViewPtr> by_name;  ///< owner, name
        std::map<Order, InstanceViewPtr> ordered;
        std::uint64_t version = 0;
        std::map<std::string, std::shared_ptr<const std::string>> whole;  ///< by owner; the cache
    };
    static void forget(State& state, const InstanceView& view);
    std::shared_ptr<const std::string> whole_list(const std::string& owner) const;

    mutable Sync<State> state_;
    mutable std::mutex building_;  ///< the whole list is built once for a change, not once for each reader
};

}  // namespace minions::core
