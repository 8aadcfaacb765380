#include "cli/commands.hpp"

#include <CLI/CLI.hpp>

namespace minions::cli {

void add_openapi(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand("openapi",
                                           "Prints the description of the daemon's HTTP interface.\n\n"
                                           "Examples:\n"
                                           "  minions openapi > minions.json");
    command->callback([&session] {
        session.run = [&session] {
            session.print_json(session.call("GET", "/openapi.json"));
            return static_cast<int>(exit_ok);
        };
    });
}

}  // namespace minions::cli
