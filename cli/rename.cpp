#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <ostream>

namespace minions::cli {

void add_rename(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand("rename",
                                           "Gives an instance another name.\n\n"
                                           "Examples:\n"
                                           "  minions rename box old-box");
    const auto name = std::make_shared<std::string>();
    const auto new_name = std::make_shared<std::string>();
    command->add_option("NAME", *name, "Name of the instance.")->required();
    command->add_option("NEW_NAME", *new_name, "Its name from now on.")->required();
    command->callback([&session, name, new_name] {
        session.run = [&session, name, new_name] {
            const auto renamed = session.call("POST", instance_path(*name, "/rename"),
                                              Value::object({{"new_name", *new_name}}));
            if (session.json) {
                session.print_json(renamed);
            } else {
                session.console.out << fmt::format("VM '{}' is '{}' now\n", *name, shown(renamed["name"]));
            }
            return static_cast<int>(exit_ok);
        };
    });
}

}  // namespace minions::cli
