#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <ostream>

namespace minions::cli {

void add_copy(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand(
        "copy",
        "Makes another instance like one that there is, with its disk as it is now.\n\n"
        "The copy of a running instance runs; ports on the host are chosen anew.\n\n"
        "Examples:\n"
        "  minions copy box box-2");
    const auto name = std::make_shared<std::string>();
    const auto new_name = std::make_shared<std::string>();
    command->add_option("NAME", *name, "Name of the instance.")->required();
    command->add_option("NEW_NAME", *new_name, "Name of the copy.")->required();
    command->callback([&session, name, new_name] {
        session.run = [&session, name, new_name] {
            const auto made =
                session.call("POST", instance_path(*name, "/copy"), Value::object({{"new_name", *new_name}}));
            if (session.json) {
                session.print_json(made);
            } else {
                session.console.out << fmt::format("VM '{}' is {}\n", shown(made["name"]),
                                                   shown(made["status"]));
            }
            return static_cast<int>(exit_ok);
        };
    });
}

}  // namespace minions::cli
