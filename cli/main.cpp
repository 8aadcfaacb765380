#include "cli/commands.hpp"
#include "core/plugins/plugin_process.hpp"

#include <unistd.h>

#include <cstdlib>
#include <iostream>

int main(int argc, char** argv) {
    // What the daemon starts this program for: first, since a plugin is described within milliseconds.
    if (const auto code = minions::core::plugin_process_main(argc, argv)) return *code;

    std::ios::sync_with_stdio(false);
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    const int code = minions::cli::main(
        arguments, {std::cin, std::cout, std::cerr, STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO});
    // Plugins, and threads of theirs, live as long as the process: no destructor of a static may run beside
    // them.
    std::cout.flush();
    std::cerr.flush();
    std::_Exit(code);
}
