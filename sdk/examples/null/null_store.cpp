#include "null_instance.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace minions::examples {
namespace {

/// What a file in the state directory remembers of an instance.
struct Remembered {
    InstanceSpec spec;
    Status status = Status::stopped;
    std::uint64_t boot = 0;
    std::optional<int> exit_code;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("spec", self.spec);
        visit("status", self.status);
        visit("boot", self.boot);
        visit("exit_code", self.exit_code);
    }
};

}  // namespace

std::string NullRuntime::file_of(const std::string& id) const {
    return host_.directories().state + "/" + id + ".json";
}

void NullRuntime::save(const NullInstance& instance) const {
    if (!config_.persistent) return;
    Remembered remembered;
    remembered.spec = *instance.spec.lock();
    {
        const auto life = instance.life.lock();
        remembered.status = life->status;
        remembered.boot = life->boot;
        remembered.exit_code = life->exit_code;
    }
    // Renamed into place, so that a crash leaves the old file or the new one.
    const std::string path = file_of(instance.id);
    std::ofstream(path + ".new") << to_json(encode(remembered));
    std::filesystem::rename(path + ".new", path);
}

void NullRuntime::forget(const std::string& id) const {
    if (config_.persistent) std::filesystem::remove(file_of(id));
}

NullRuntime::Shared NullRuntime::load(const std::string& id) const {
    if (!config_.persistent) return nullptr;
    std::ifstream file(file_of(id));
    if (!file) return nullptr;
    std::stringstream text;
    text << file.rdbuf();
    const auto remembered = decode<Remembered>(parse_json(text.str()), Unknown::ignore);
    auto instance = std::make_shared<NullInstance>(id, remembered.spec);
    const auto life = instance->life.lock();
    life->status = remembered.status;
    life->boot = remembered.boot;
    life->exit_code = remembered.exit_code;
    life->started = std::chrono::steady_clock::now();
    return instance;
}

}  // namespace minions::examples
