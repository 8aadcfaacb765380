#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <ostream>

namespace minions::cli {
namespace {

struct Change {
    const char* name;
    bool stops;  ///< takes the options of a stop
    const char* description;
};

constexpr Change changes[] = {
    {"stop", true,
     "Stops instances; they keep their disk and address.\n\n"
     "Each is asked to end, and ended when its time is over.\n\n"
     "Examples:\n"
     "  minions stop box\n"
     "  minions stop --timeout 5 box other\n"
     "  minions stop --force box"},
    {"start", false, "Starts stopped instances.\n\nExamples:\n  minions start box"},
    {"restart", true, "Stops instances and starts them again.\n\nExamples:\n  minions restart box"},
    {"pause", false, "Freezes running instances where they are.\n\nExamples:\n  minions pause box"},
    {"resume", false, "Lets paused instances go on.\n\nExamples:\n  minions resume box"},
};

struct Options {
    std::vector<std::string> names;
    bool force = false;
    std::optional<double> timeout;
};

int apply(Session& session, const char* change, const Options& options) {
    Value body = Value::object();
    if (options.force) body.set("force", true);
    if (options.timeout) body.set("timeout_seconds", *options.timeout);
    for (const auto& name : options.names) {
        const auto document = session.call("POST", instance_path(name, fmt::format("/{}", change)), body);
        if (session.json) {
            session.print_json(document);
        } else {
            session.console.out << fmt::format("VM '{}' is {}\n", shown(document["name"]),
                                               shown(document["status"]));
        }
    }
    return exit_ok;
}

}  // namespace

void add_lifecycle(CLI::App& program, Session& session) {
    for (const auto& change : changes) {
        auto* command = program.add_subcommand(change.name, change.description);
        const auto options = std::make_shared<Options>();
        command->add_option("NAME", options->names, "Names of instances.")->required();
        if (change.stops) {
            command->add_flag("--force", options->force, "End it at once, and any operation under way.");
            command->add_option("-t,--timeout", options->timeout,
                                "Seconds that it may take to end by itself. Default: 30.");
        }
        command->callback([&session, options, name = change.name] {
            session.run = [&session, options, name] { return apply(session, name, *options); };
        });
    }
}

}  // namespace minions::cli
