// Plugins that misbehave while they are loaded, before their entry function is called; the name says how.
#include "well_formed.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

__attribute__((constructor)) void at_load() {
    constexpr std::string_view how = BAD_NAME;
    if (how == "crashes") std::abort();
    if (how == "exits") std::exit(0);
    if (how == "prints") std::puts("{}");
    while (how == "hangs") ::pause();
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const minions_plugin* minions_plugin_entry(void) {
    static const minions_plugin plugin = bad::well_formed(BAD_NAME);
    return &plugin;
}
