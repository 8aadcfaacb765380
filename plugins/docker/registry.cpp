#include "plugins/docker/registry.hpp"

#include <algorithm>

namespace minions::docker {

constexpr std::size_t remembered_destroyed = 4096;

void Registry::note(const Instance& instance) {
    auto state = state_.lock();
    Known& known = state->known[instance.id];
    known.boot = std::max(known.boot, instance.boot);
    if (!instance.state) return;
    const auto container = instance.state->data["container"].string_or("");
    if (!container.empty()) known.container = container;
}

void Registry::set_container(const std::string& instance, const std::string& container) {
    state_.lock()->known[instance].container = container;
}

void Registry::forget(const std::string& instance) {
    auto state = state_.lock();
    state->known.erase(instance);
    if (state->destroyed.size() >= remembered_destroyed) state->destroyed.clear();
    state->destroyed.insert(instance);
}

std::string Registry::container(const std::string& instance) const {
    const auto state = state_.lock();
    const auto found = state->known.find(instance);
    return found == state->known.end() ? std::string() : found->second.container;
}

std::optional<Known> Registry::find(const std::string& instance) const {
    const auto state = state_.lock();
    const auto found = state->known.find(instance);
    if (found == state->known.end()) return std::nullopt;
    return found->second;
}

bool Registry::knows(const std::string& instance) const { return state_.lock()->known.contains(instance); }

std::map<std::string, Known> Registry::all() const { return state_.lock()->known; }

bool Registry::destroyed(const std::string& instance) const {
    return state_.lock()->destroyed.contains(instance);
}

std::optional<std::uint64_t> Registry::take(const std::string& instance, std::uint64_t turn,
                                            const InstanceFacts& facts) {
    {
        auto state = state_.lock();
        const auto found = state->known.find(instance);
        if (found == state->known.end()) return std::nullopt;
        Known& known = found->second;
        if (known.mutating > 0) {
            known.looked_away = true;
            return std::nullopt;
        }
        if (known.turn == turn) {
            if (known.last == facts) return std::nullopt;
            known.last = facts;
            return known.boot;
        }
    }
    look_(instance);
    return std::nullopt;
}

void Registry::told(const std::string& instance, const InstanceFacts& facts) {
    auto state = state_.lock();
    const auto found = state->known.find(instance);
    if (found != state->known.end()) found->second.last = facts;
}

void Registry::forget_facts() {
    auto state = state_.lock();
    for (auto& [id, known] : state->known) known.last.reset();
}

std::optional<CpuSample> Registry::exchange_cpu(const std::string& instance, const CpuSample& sample) {
    auto state = state_.lock();
    const auto found = state->known.find(instance);
    if (found == state->known.end()) return std::nullopt;
    return std::exchange(found->second.cpu, sample);
}

Registry::Mutation::Mutation(Registry& registry, const Instance& instance)
    : registry_(registry), id_(instance.id) {
    registry_.note(instance);
    auto state = registry_.state_.lock();
    ++state->known[id_].mutating;
}

Registry::Mutation::~Mutation() {
    bool look = false;
    {
        auto state = registry_.state_.lock();
        const auto found = state->known.find(id_);
        if (found == state->known.end()) return;
        Known& known = found->second;
        ++known.turn;
        if (--known.mutating == 0) look = std::exchange(known.looked_away, false);
    }
    if (look) registry_.look_(id_);
}

}  // namespace minions::docker
