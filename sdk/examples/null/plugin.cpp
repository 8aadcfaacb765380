#include <minions/examples/null_runtime.hpp>
#include <minions/plugin.hpp>

MINIONS_PLUGIN(minions::examples::NullRuntime, "null", "1.0",
               "instances that exist only in memory, for tests", minions::Kind::container)
