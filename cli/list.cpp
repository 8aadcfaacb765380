#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>

#include <ostream>

namespace minions::cli {
namespace {

struct Options {
    std::string label;
    std::string status;
    std::string runtime;
};

int list(Session& session, const Options& options) {
    std::string target = "/api/vms";
    char separator = '?';
    for (const auto& [name, value] :
         {std::pair{"label", options.label}, {"status", options.status}, {"runtime", options.runtime}}) {
        if (value.empty()) continue;
        target += separator + std::string(name) + "=" + encode_segment(value);
        separator = '&';
    }
    const auto instances = session.call("GET", target);
    if (session.json) {
        session.print_json(instances);
        return exit_ok;
    }
    const auto* array = instances.if_array();
    if (array == nullptr || array->empty()) {
        session.console.out << "No VMs found.\n";
        return exit_ok;
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto& vm : *array) {
        rows.push_back({shown(vm["name"]), shown(vm["status"]), shown(vm["ip"]), shown(vm["cpus"]),
                        shown(vm["memory_mb"]), shown(vm["pid"])});
    }
    print_table(session.console.out, {"NAME", "STATUS", "IP", "CPUS", "MEMORY", "PID"}, rows);
    return exit_ok;
}

}  // namespace

void add_list(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand("list",
                                           "Lists the instances.\n\n"
                                           "MEMORY is in MiB; what is not known or not limited is a '-'.\n\n"
                                           "Examples:\n"
                                           "  minions list\n"
                                           "  minions list --status running --label team=research\n"
                                           "  minions --json list --runtime docker");
    const auto options = std::make_shared<Options>();
    command->add_option("--label", options->label, "Only those with this label, KEY=VALUE.");
    command->add_option("--status", options->status, "Only those in this state.");
    command->add_option("--runtime", options->runtime, "Only those of this runtime.");
    command->callback(
        [&session, options] { session.run = [&session, options] { return list(session, *options); }; });
}

}  // namespace minions::cli
