#pragma once

#include <minions/abi.h>

#include <climits>
#include <cstddef>

/// A descriptor by hand, of which each bad plugin breaks one thing.
namespace bad {

inline const char* const none[] = {nullptr};

inline void open(const minions_host*, const char*, std::size_t, void** plugin, minions_reply_fn reply,
                 void* sink) {
    static int object;
    *plugin = &object;
    reply(sink, "{\"r\":{}}", 8, nullptr, 0);
}

inline void call(void*, uint64_t, const char*, std::size_t, const int*, std::size_t, minions_reply_fn reply,
                 void* sink) {
    reply(sink, "{\"r\":{\"healthy\":true}}", 22, nullptr, 0);
}

inline minions_plugin well_formed(const char* name) {
    minions_plugin plugin{};
    plugin.magic = MINIONS_ABI_MAGIC;
    plugin.abi_major = MINIONS_ABI_MAJOR;
    plugin.abi_minor = MINIONS_ABI_MINOR;
    plugin.size = sizeof plugin;
    plugin.name = name;
    plugin.version = "1";
    plugin.description = "a plugin for tests";
    plugin.kind = MINIONS_KIND_CONTAINER;
    plugin.config_key_size = sizeof(minions_config_key);
    plugin.facets = none;
    plugin.features = none;
    plugin.open = open;
    plugin.call = call;
    return plugin;
}

}  // namespace bad
