#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>

namespace minions::cli {
namespace {

/// Shows one document of an instance.
int show(Session& session, const std::string& target) {
    const auto document = session.call("GET", target);
    if (session.json) {
        session.print_json(document);
    } else {
        print_members(session.console.out, document);
    }
    return exit_ok;
}

}  // namespace

void add_get(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand("get",
                                           "Shows what is known of one instance.\n\n"
                                           "Examples:\n"
                                           "  minions get box\n"
                                           "  minions --json get box\n"
                                           "  minions get --diagnosis box");
    const auto name = std::make_shared<std::string>();
    const auto diagnosis = std::make_shared<bool>(false);
    command->add_option("NAME", *name, "Name of the instance.")->required();
    command->add_flag("--diagnosis", *diagnosis, "Show why its last create failed instead.");
    command->callback([&session, name, diagnosis] {
        session.run = [&session, name, diagnosis] {
            return show(session, instance_path(*name, *diagnosis ? "/diagnosis" : ""));
        };
    });
}

void add_status(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand("status",
                                           "Shows how a running instance fares, as seen from inside.\n\n"
                                           "Uptime, memory, disk, CPU and network.\n\n"
                                           "Examples:\n"
                                           "  minions status box");
    const auto name = std::make_shared<std::string>();
    command->add_option("NAME", *name, "Name of the instance.")->required();
    command->callback([&session, name] {
        session.run = [&session, name] { return show(session, instance_path(*name, "/status")); };
    });
}

}  // namespace minions::cli
