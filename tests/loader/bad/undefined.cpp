#include "well_formed.hpp"

extern "C" int nobody_defines_this(void);

extern "C" __attribute__((visibility("default"))) const minions_plugin* minions_plugin_entry(void) {
    static const minions_plugin plugin = bad::well_formed("undefined");
    return nobody_defines_this() == 0 ? &plugin : nullptr;
}
