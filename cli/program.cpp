#include "cli/commands.hpp"
#include "cli/output.hpp"
#include "core/app/version.hpp"

#include <minions/codec.hpp>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <ostream>

namespace minions::cli {
namespace {

/// The order of the program's help.
constexpr void (*commands[])(CLI::App&, Session&) = {
    add_serve,   add_create,    add_list,        add_get,        add_status, add_exec,
    add_logs,    add_lifecycle, add_resize,      add_rename,     add_copy,   add_snapshot,
    add_destroy, add_deploy,    add_deployments, add_image,      add_events, add_plugins,
    add_token,   add_config,    add_openapi,     add_failpoints,
};

constexpr const char* description =
    "Runs sandboxes for agents, microVMs and containers, and the daemon that keeps them.\n\n"
    "Examples:\n"
    "  minions serve\n"
    "  minions create box --runtime docker --image python:3.11-slim -- sleep infinity\n"
    "  minions exec box -- uname -a\n"
    "  minions --host http://elsewhere:3000 --token-file ~/.minions-token list\n\n"
    "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 no daemon answers; exec passes on that of its "
    "command.";

/// In the list of commands only the first sentence of each.
class Formatter : public CLI::Formatter {
    std::string make_description(const CLI::App* command) const override {
        return command->get_description() + "\n\n";
    }

    std::string make_subcommand(const CLI::App* command) const override {
        std::string line = command->get_description();
        line.resize(std::min(line.find('\n'), line.size()));
        return fmt::format("  {:<13} {}\n", command->get_name(), line);
    }
};

void add_globals(CLI::App& program, Session& session) {
    program
        .add_option("--host", session.host,
                    "Daemon to ask: http://HOST:PORT or unix:/PATH. Default: this machine's.")
        ->envname("MINIONS_HOST");
    program
        .add_option(
            "--token", session.token,
            "Bearer token. Others on this machine can read it here: prefer MINIONS_TOKEN or --token-file.")
        ->envname("MINIONS_TOKEN");
    program.add_option("--token-file", session.token_file, "File that holds the bearer token.");
    program.add_flag("--json", session.json, "Print the daemon's JSON documents.");
    program.set_version_flag("--version", fmt::format("minions {}", core::version()));
}

/// "label: text", with the further lines of a text that has some (the end of a log) indented below.
void say(std::ostream& out, std::string_view label, std::string_view text) {
    std::size_t end = std::min(text.find('\n'), text.size());
    out << label << ": " << printable(text.substr(0, end)) << '\n';
    while (end < text.size()) {
        const std::size_t begin = end + 1;
        end = std::min(text.find('\n', begin), text.size());
        if (begin < end) out << "  " << printable(text.substr(begin, end - begin)) << '\n';
    }
}

int report(const Console& console, const Error& error, int code) {
    say(console.err, "error", error.message());
    if (!error.hint().empty()) say(console.err, "hint", error.hint());
    return code;
}

int report_usage(const Console& console, const CLI::App& program, const CLI::ParseError& error) {
    const auto chosen = program.get_subcommands();
    std::string help = "minions --help";
    if (!chosen.empty()) help = fmt::format("minions {} --help", chosen.front()->get_name());
    std::string hint = fmt::format("see {}", help);
    const auto remaining = program.remaining();
    if (chosen.empty() && !remaining.empty()) {
        std::vector<std::string> names;
        for (const auto* command : program.get_subcommands({})) names.push_back(command->get_name());
        const auto nearest =
            nearest_word(remaining.front(), std::vector<std::string_view>(names.begin(), names.end()));
        if (!nearest.empty()) hint = fmt::format("did you mean '{}'?", nearest);
        return report(console, {Code::invalid, fmt::format("unknown command '{}'", remaining.front()), hint},
                      exit_usage);
    }
    return report(console, {Code::invalid, error.what(), hint}, exit_usage);
}

/// Parses; a code where there is nothing further to do (help, version, mistakes).
std::optional<int> parse(CLI::App& program, Session& session, std::vector<std::string> arguments) {
    if (const auto dashes = std::find(arguments.begin(), arguments.end(), "--"); dashes != arguments.end()) {
        session.has_command = true;
        session.command.assign(dashes + 1, arguments.end());
        arguments.erase(dashes, arguments.end());
    }
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
    try {
        program.parse(std::move(arguments));
    } catch (const CLI::Success& wanted) {
        program.exit(wanted, session.console.out, session.console.err);
        return exit_ok;
    } catch (const CLI::ParseError& error) {
        return report_usage(session.console, program, error);
    }
    if (!session.run) {
        session.console.err << program.help();
        return exit_usage;
    }
    if (session.has_command && !session.takes_command) {
        return report(session.console, UsageError("this command takes nothing after '--'"), exit_usage);
    }
    return std::nullopt;
}

}  // namespace

int main(const std::vector<std::string>& arguments, Console console) {
    Session session(console);
    int code = exit_failed;
    try {
        CLI::App program(description, "minions");
        program.formatter(std::make_shared<Formatter>());
        program.require_subcommand(0, 1);
        program.fallthrough();
        add_globals(program, session);
        for (const auto add : commands) add(program, session);
        const auto done = parse(program, session, arguments);
        code = done ? *done : session.run();
    } catch (const UsageError& error) {
        code = report(console, error, exit_usage);
    } catch (const CannotConnect& error) {
        code = report(console, error, exit_cannot_connect);
    } catch (...) {
        code = report(console, current_error(), exit_failed);
    }
    console.out.flush();
    if (!console.out && code == exit_ok) code = exit_failed;
    return code;
}

}  // namespace minions::cli
