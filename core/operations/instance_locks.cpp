#include "core/operations/instance_locks.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

namespace minions::core {

InstanceLocks::Held InstanceLocks::hold(const std::string& instance, SteadyTime until) {
    const auto self = std::this_thread::get_id();
    auto held = held_.lock();
    const auto free = [&](const std::map<std::string, Holder>& now) {
        const auto found = now.find(instance);
        return found == now.end() || found->second.thread == self;
    };
    if (until == SteadyTime::max()) {
        held.wait(released_, free);
    } else if (!held.wait_until(released_, until, free)) {
        throw Error{Code::deadline, fmt::format("something else was at VM {} until the deadline", instance)};
    }
    Holder& holder = (*held)[instance];
    holder.thread = self;
    ++holder.times;
    return {*this, instance};
}

void InstanceLocks::release(const std::string& instance) noexcept {
    {
        const auto held = held_.lock();
        const auto found = held->find(instance);
        if (--found->second.times > 0) return;
        held->erase(found);
    }
    released_.notify_all();
}

}  // namespace minions::core
