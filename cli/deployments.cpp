#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <ostream>

namespace minions::cli {
namespace {

struct Options {
    std::string name;
    std::string log;
    std::uint64_t limit = 100;
};

int print_log(Session& session, const std::string& id) {
    session.stream({"GET", fmt::format("/api/v1/vm/deployments/{}/log", encode_segment(id))},
                   [&](std::string_view piece) {
                       session.console.out << piece << std::flush;
                       return session.console.out.good();
                   });
    return exit_ok;
}

int deployments(Session& session, const Options& options) {
    if (!options.log.empty()) return print_log(session, options.log);
    auto target = fmt::format("/api/v1/vm/deployments?limit={}", options.limit);
    if (!options.name.empty()) target += "&agent_name=" + encode_segment(options.name);
    const auto list = session.call("GET", target);
    if (session.json) {
        session.print_json(list);
        return exit_ok;
    }
    const auto* array = list.if_array();
    if (array == nullptr || array->empty()) {
        session.console.out << "No deployments found.\n";
        return exit_ok;
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto& row : *array) {
        rows.push_back({shown(row["deployment_id"]), shown(row["agent_name"]), shown(row["status"]),
                        shown(row["stage"]), shown(row["container_name"]), shown(row["created_at"])});
    }
    print_table(session.console.out, {"ID", "AGENT", "STATUS", "STAGE", "CONTAINER", "CREATED"}, rows);
    return exit_ok;
}

}  // namespace

void add_deployments(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand("deployments",
                                           "Lists deploy calls, newest first, or shows the log of one.\n\n"
                                           "Examples:\n"
                                           "  minions deployments --name my-agent\n"
                                           "  minions deployments --log abcdefghijkl");
    const auto options = std::make_shared<Options>();
    command->add_option("-n,--name", options->name, "Only those of this agent.");
    command->add_option("--limit", options->limit, "At most so many. Default: 100.");
    command->add_option("--log", options->log, "Print the log of the deployment with this id instead.");
    command->callback([&session, options] {
        session.run = [&session, options] { return deployments(session, *options); };
    });
}

}  // namespace minions::cli
