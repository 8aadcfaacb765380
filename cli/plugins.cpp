#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>

#include <ostream>

namespace minions::cli {
namespace {

std::string state_of(const Value& plugin) {
    if (plugin["state"].string_or("") != "loaded") return shown(plugin["state"]);
    return plugin["health"]["healthy"].bool_or(false) ? "healthy" : "unhealthy";
}

int plugins(Session& session) {
    const auto list = session.call("GET", "/api/plugins");
    if (session.json) {
        session.print_json(list);
        return exit_ok;
    }
    const auto* array = list.if_array();
    if (array == nullptr || array->empty()) {
        session.console.out << "No plugins found.\n";
        return exit_ok;
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto& plugin : *array) {
        rows.push_back({shown(plugin["name"].string_or("").empty() ? plugin["path"] : plugin["name"]),
                        shown(plugin["version"]), shown(plugin["kind"]), state_of(plugin),
                        shown(plugin["reason"])});
    }
    print_table(session.console.out, {"NAME", "VERSION", "KIND", "STATE", "REASON"}, rows);
    return exit_ok;
}

}  // namespace

void add_plugins(CLI::App& program, Session& session) {
    auto* command =
        program.add_subcommand("plugins",
                               "Lists the runtimes: loaded, healthy or not, and refused, with the reason.\n\n"
                               "Examples:\n"
                               "  minions plugins\n"
                               "  minions --json plugins");
    command->callback([&session] { session.run = [&session] { return plugins(session); }; });
}

}  // namespace minions::cli
