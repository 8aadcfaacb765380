#pragma once

#include "plugins/docker/documents.hpp"

#include <minions/base/sync.hpp>
#include <minions/types.hpp>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace minions::docker {

/// What is known of one instance between calls.
struct Known {
    std::string container;  ///< empty until made or found
    std::uint64_t boot = 0;
    std::optional<InstanceFacts> last;  ///< what core has been told
    std::optional<CpuSample> cpu;
    int mutating = 0;          ///< calls that change it, under way
    std::uint64_t turn = 0;    ///< counts changes by calls: facts taken across one are stale
    bool looked_away = false;  ///< something happened during a mutating call
};

/// The instances that core has handed over. [any thread]
class Registry {
  public:
    /// Called, from any thread, for an instance that has to be looked at once its mutating call is over.
    void on_look(std::function<void(const std::string&)> look) { look_ = std::move(look); }

    /// Notes what an instance brings along: its boot, and the container of its saved state.
    void note(const Instance& instance);
    void set_container(const std::string& instance, const std::string& container);
    void forget(const std::string& instance);
    /// The container's id, empty if none is known.
    std::string container(const std::string& instance) const;
    std::optional<Known> find(const std::string& instance) const;
    bool knows(const std::string& instance) const;
    std::map<std::string, Known> all() const;

    /// Whether the instance was destroyed by this process: a container that still turns up is a leftover.
    bool destroyed(const std::string& instance) const;

    /// For facts found outside of calls: takes them if the instance is known, no call changes it and none
    /// did since `turn` (otherwise it is looked at again). Returns the boot to report them with; nullopt if
    /// there is nothing to report.
    std::optional<std::uint64_t> take(const std::string& instance, std::uint64_t turn,
                                      const InstanceFacts& facts);
    /// Facts that a call returned: core knows them.
    void told(const std::string& instance, const InstanceFacts& facts);
    /// Core may have lost track: what is found next is reported even if it is the same.
    void forget_facts();

    /// The CPU sample before this one.
    std::optional<CpuSample> exchange_cpu(const std::string& instance, const CpuSample& sample);

    /// Holds back reports about one instance while a call changes it.
    class Mutation {
      public:
        Mutation(Registry& registry, const Instance& instance);
        ~Mutation();
        Mutation(const Mutation&) = delete;
        Mutation& operator=(const Mutation&) = delete;

      private:
        Registry& registry_;
        std::string id_;
    };

  private:
    struct State {
        std::map<std::string, Known> known;
        std::set<std::string> destroyed;
    };
    Sync<State> state_;
    std::function<void(const std::string&)> look_ = [](const std::string&) {};
};

}  // namespace minions::docker
