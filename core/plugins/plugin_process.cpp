#include "core/plugins/plugin_process.hpp"

#include "core/plugins/child_process.hpp"
#include "core/plugins/describe.hpp"

#include <string_view>

namespace minions::core {

std::optional<int> plugin_process_main(int argc, char** argv) {
    if (argc < 2) return std::nullopt;
    const std::string_view command = argv[1];
    if (command == "plugin-describe") return plugin_describe_main(argc - 1, argv + 1);
    if (command == "plugin-host") return plugin_host_main(argc - 1, argv + 1);
    return std::nullopt;
}

}  // namespace minions::core
