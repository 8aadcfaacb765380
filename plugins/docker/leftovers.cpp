#include "plugins/docker/leftovers.hpp"

#include <exception>
#include <utility>

namespace minions::docker {

std::shared_lock<std::shared_timed_mutex> Leftovers::building(const Patience& patience) {
    std::shared_lock lock(builds_, patience.deadline);
    if (!lock) throw Error(Code::deadline, "the engine did not finish removing what builds left", {}, true);
    return lock;
}

void Leftovers::add(const std::vector<Leftover>& left) {
    auto all = left_.lock();
    all->insert(all->end(), left.begin(), left.end());
}

bool Leftovers::remove(Engine& engine, const Patience& patience, const std::string& installation) {
    const std::unique_lock alone(builds_, std::try_to_lock);
    if (!alone) return false;
    // Containers first, then from the newest on: a layer is in use by the container of the step above it,
    // which nobody has written down if the engine died before it could tell.
    sweep_steps(engine, patience, installation);
    std::exception_ptr failed;
    const auto left = std::exchange(*left_.lock(), {});
    for (auto leftover = left.rbegin(); leftover != left.rend(); ++leftover) {
        try {
            remove_leftover(engine, patience, installation, *leftover);
        } catch (const Error&) {
            failed = std::current_exception();
            const auto kept = left_.lock();
            kept->insert(kept->begin(), *leftover);
        }
    }
    sweep_layers(engine, patience, installation);
    if (failed) std::rethrow_exception(failed);
    return true;
}

}  // namespace minions::docker
