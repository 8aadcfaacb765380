#define CATCH_CONFIG_RUNNER
#include "core/plugins/plugin_process.hpp"

#include <catch2/catch.hpp>

/// The tests start this program as a plugin's process, as the daemon starts itself.
int main(int argc, char** argv) {
    if (const auto code = minions::core::plugin_process_main(argc, argv)) return *code;
    return Catch::Session().run(argc, argv);
}
