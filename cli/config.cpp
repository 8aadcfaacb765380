#include "cli/commands.hpp"
#include "cli/config_options.hpp"
#include "cli/output.hpp"
#include "core/app/paths.hpp"
#include "core/app/plugin_keys.hpp"

#include <CLI/CLI.hpp>

#include <ostream>

namespace minions::cli {
namespace {

int show(Session& session, const core::ConfigSources& sources) {
    core::Config config(sources);
    auto warnings = core::join_plugin_keys(config);
    auto items = config.dump();
    for (auto& item : items) {
        // With its {run_dir} filled in.
        if (item.key == "server.socket") item.value = core::paths_of(config).socket;
    }
    if (session.json) {
        Value list = Value::array();
        for (const auto& item : items) {
            list.push(Value::object({{"key", item.key}, {"value", item.value}, {"source", item.source}}));
        }
        session.print_json(list);
    } else {
        std::vector<std::vector<std::string>> rows;
        for (const auto& item : items) {
            rows.push_back({printable(item.key), printable(item.value), printable(item.source)});
        }
        print_table(session.console.out, {"KEY", "VALUE", "SOURCE"}, rows);
    }
    for (const auto& warning : config.warnings()) warnings.push_back(warning);
    for (const auto& warning : warnings) session.console.err << "warning: " << printable(warning) << '\n';
    return exit_ok;
}

}  // namespace

void add_config(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand(
        "config",
        "Shows the daemon's configuration: each effective value and where it comes from.\n\n"
        "Reads the file as 'minions serve' with the same options would, and names what is wrong with it.\n"
        "docs/configuration.md explains the keys.\n\n"
        "Examples:\n"
        "  minions config\n"
        "  minions config --config ./minions.conf --set log.level=debug");
    const auto options = std::make_shared<ConfigOptions>();
    const auto markdown = std::make_shared<bool>(false);
    add_config_options(*command, *options);
    command->add_flag("--markdown", *markdown, "Print docs/configuration.md.")->group("");
    command->callback([&session, options, markdown] {
        session.run = [&session, options, markdown] {
            if (!*markdown) return show(session, options->sources());
            core::Config config(options->sources());
            session.console.out << core::configuration_markdown(core::plugin_keys(config));
            return static_cast<int>(exit_ok);
        };
    });
}

}  // namespace minions::cli
