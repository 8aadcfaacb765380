#include "core/app/serve.hpp"

#include "cli/commands.hpp"
#include "cli/config_options.hpp"

#include <CLI/CLI.hpp>

namespace minions::cli {

void add_serve(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand(
        "serve",
        "Runs the daemon until SIGTERM or SIGINT.\n\n"
        "Prints one line when it answers. SIGHUP reads the reloadable configuration keys again. Instances\n"
        "outlive it.\n\n"
        "Examples:\n"
        "  minions serve\n"
        "  minions serve --bind 127.0.0.1:0 --state-dir /tmp/m/state --run-dir /tmp/m/run\n"
        "  minions serve --config ./minions.conf --set log.level=debug");
    const auto options = std::make_shared<ConfigOptions>();
    add_config_options(*command, *options);
    command->callback(
        [&session, options] { session.run = [options] { return core::serve({options->sources()}); }; });
}

}  // namespace minions::cli
