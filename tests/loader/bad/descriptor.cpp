// One source for every plugin whose fault is in its descriptor: its name says which.
#include "well_formed.hpp"

#include <string_view>

namespace {

const char* const unheard_of[] = {"teleport", nullptr};

void spoil(minions_plugin& plugin, std::string_view how) {
    if (how == "wrong-abi") plugin.abi_major = 99;
    if (how == "magic") plugin.magic = 1;
    if (how == "short") plugin.size = 8;
    if (how == "null-name") plugin.name = nullptr;
    if (how == "odd-name") plugin.name = "../etc";
    if (how == "null-call") plugin.call = nullptr;
    if (how == "new-facet") plugin.facets = unheard_of;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const minions_plugin* minions_plugin_entry(void) {
    static minions_plugin plugin = bad::well_formed(BAD_NAME);
    spoil(plugin, BAD_NAME);
    return std::string_view(BAD_NAME) == "null-entry" ? nullptr : &plugin;
}
