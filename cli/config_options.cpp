#include "cli/config_options.hpp"

#include "cli/session.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace minions::cli {
namespace {

constexpr const char* default_file = "/etc/minions/minions.conf";

}  // namespace

core::ConfigSources ConfigOptions::sources() const {
    core::ConfigSources sources;
    sources.file = file.empty() ? default_file : file;
    sources.file_may_be_absent = file.empty();
    for (const auto& argument : set) {
        const auto equals = argument.find('=');
        if (equals == std::string::npos || equals == 0) {
            throw UsageError(fmt::format("--set '{}' is not KEY=VALUE", argument));
        }
        sources.command_line.emplace_back(argument.substr(0, equals), argument.substr(equals + 1));
    }
    if (!bind.empty())
        sources.command_line.emplace_back("server.bind", fmt::format("{}", fmt::join(bind, ", ")));
    if (has_socket) sources.command_line.emplace_back("server.socket", socket);
    if (!state_dir.empty()) sources.command_line.emplace_back("state_dir", state_dir);
    if (!run_dir.empty()) sources.command_line.emplace_back("run_dir", run_dir);
    if (!plugin_dirs.empty()) {
        sources.command_line.emplace_back("plugin_dirs", fmt::format("{}", fmt::join(plugin_dirs, ", ")));
    }
    return sources;
}

void add_config_options(CLI::App& command, ConfigOptions& options) {
    command.add_option("--config", options.file, "Configuration file. Default: /etc/minions/minions.conf.");
    command
        .add_option("--bind", options.bind, "Address to listen on, ADDRESS:PORT. Default: 127.0.0.1:3000.")
        ->allow_extra_args(false);
    command.add_option_function<std::string>(
        "--socket",
        [&options](const std::string& path) {
            options.socket = path;
            options.has_socket = true;
        },
        "Unix socket to listen on; empty for none. Default: minions.sock in the run directory.");
    command.add_option("--state-dir", options.state_dir,
                       "What survives a reboot. Default: /var/lib/minions.");
    command.add_option("--run-dir", options.run_dir, "What does not. Default: /run/minions.");
    command.add_option("--plugin-dir", options.plugin_dirs, "Further directory with runtime plugins.")
        ->allow_extra_args(false);
    command.add_option("--set", options.set, "Any configuration key: KEY=VALUE; see 'minions config'.")
        ->allow_extra_args(false);
}

}  // namespace minions::cli
