#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>

#include <ostream>

namespace minions::cli {

void add_destroy(CLI::App& program, Session& session) {
    auto* command =
        program.add_subcommand("destroy",
                               "Destroys instances, running or not, with everything that is theirs.\n\n"
                               "Examples:\n"
                               "  minions destroy box\n"
                               "  minions destroy box other");
    const auto names = std::make_shared<std::vector<std::string>>();
    command->add_option("NAME", *names, "Names of instances.")->required();
    command->callback([&session, names] {
        session.run = [&session, names] {
            for (const auto& name : *names) {
                const auto reply = session.call("DELETE", instance_path(name));
                if (session.json) {
                    session.print_json(reply);
                } else {
                    session.console.out << shown(reply["message"]) << '\n';
                }
            }
            return static_cast<int>(exit_ok);
        };
    });
}

}  // namespace minions::cli
