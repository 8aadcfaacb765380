#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/exec_stream.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <unistd.h>

#include <cstdlib>
#include <istream>
#include <iterator>

namespace minions::cli {
namespace {

struct Options {
    std::string name;
    std::vector<std::string> command;
    std::vector<std::string> environment;
    std::string directory;
    std::string user;
    std::optional<double> timeout;
    bool interactive = false;
    bool tty = false;
};

Value body_of(Session& session, const Options& options) {
    auto command = options.command;
    command.insert(command.end(), session.command.begin(), session.command.end());
    if (command.empty()) {
        throw UsageError("exec needs a command",
                         fmt::format("minions exec {} -- COMMAND ARGUMENTS", options.name));
    }
    Value body = Value::object({{"command", command.front()}});
    body.set("args", Value::Array(command.begin() + 1, command.end()));
    if (!options.environment.empty()) body.set("env", key_values(options.environment, "--env", true));
    if (!options.directory.empty()) body.set("cwd", options.directory);
    if (!options.user.empty()) body.set("user", options.user);
    if (options.timeout) body.set("timeout_seconds", *options.timeout);
    return body;
}

/// The whole of this program's input, for a command whose output is a document.
void add_input(Session& session, Value& body) {
    const std::string input((std::istreambuf_iterator<char>(session.console.in)), {});
    if (is_utf8(input) && input.find('\0') == std::string::npos) {
        body.set("stdin", input);
    } else {
        body.set("stdin", encode_base64(input));
        body.set("stdin_encoding", "base64");
    }
}

/// --json: one document, once the command has ended.
int exec_document(Session& session, const Options& options) {
    if (options.tty) throw UsageError("--tty and --json do not go together");
    Value body = body_of(session, options);
    if (options.interactive) add_input(session, body);
    const Value reply = session.call("POST", instance_path(options.name, "/exec"), body);
    session.print_json(reply);
    // A shell's convention for a command that a signal ended.
    if (const auto* signal = reply["signal"].if_int()) return 128 + static_cast<int>(*signal);
    return static_cast<int>(reply["exit_code"].int_or(exit_failed));
}

int exec(Session& session, const Options& options) {
    if (session.json) return exec_document(session, options);
    Value spec = body_of(session, options);
    if (options.interactive) spec.set("stdin", true);
    if (options.tty) {
        if (options.interactive && ::isatty(session.console.in_fd) == 0)
            throw UsageError("--tty needs a terminal on standard input", "leave -t out");
        spec.set("tty", true);
        const char* kind = std::getenv("TERM");
        Value environment = spec["env"].is_null() ? Value::object() : spec["env"];
        if (kind != nullptr && environment["TERM"].is_null()) environment.set("TERM", kind);
        spec.set("env", std::move(environment));
    }
    return exec_stream(session, options.name, std::move(spec));
}

}  // namespace

void add_exec(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand(
        "exec",
        "Runs a command inside an instance and exits with its exit code.\n\n"
        "No shell is involved: for one, run it. Signals go to the command. With --json the output comes as "
        "a document, once the command has ended.\n\n"
        "Examples:\n"
        "  minions exec box -- uname -a\n"
        "  minions exec box -- sh -c 'ls /tmp | wc -l'\n"
        "  minions exec -it box -- bash\n"
        "  minions exec -i box -- tar -x -C /srv < files.tar");
    const auto options = std::make_shared<Options>();
    command->add_option("NAME", options->name, "Name of the instance.")->required();
    command->add_option("COMMAND", options->command, "Command and arguments; put '--' before them.");
    command->add_flag("-i,--interactive", options->interactive, "Pass this program's standard input on.");
    command->add_flag("-t,--tty", options->tty, "Give the command a terminal, which is this one.");
    command
        ->add_option("-e,--env", options->environment,
                     "Environment variable, KEY=VALUE, or KEY to pass yours on.")
        ->allow_extra_args(false);
    command->add_option("-w,--workdir", options->directory, "Directory to run in.");
    command->add_option("-u,--user", options->user, "Name or UID[:GID] to run as.");
    command->add_option("--timeout", options->timeout, "Seconds after which it is killed.");
    command->callback([&session, options] {
        session.takes_command = true;
        session.run = [&session, options] { return exec(session, *options); };
    });
}

}  // namespace minions::cli
