#include "cli/commands.hpp"

#include <minions/base/failpoint.hpp>

#include <CLI/CLI.hpp>

#include <ostream>

namespace minions::cli {

void add_failpoints(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand(
        "failpoints",
        "Lists the places where tests can make the daemon fail.\n\n"
        "Those of plugins are in the plugins: the daemon's stderr has them where it is started "
        "with MINIONS_FAILPOINTS=list.");
    command->group("");  // not in the help: of no use to a user
    command->callback([&session] {
        session.run = [&session] {
            for (const std::string& name : failpoint_names()) session.console.out << name << '\n';
            return static_cast<int>(exit_ok);
        };
    });
}

}  // namespace minions::cli
