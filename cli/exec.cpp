#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <istream>
#include <iterator>
#include <ostream>

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
    if (options.interactive) {
        const std::string input((std::istreambuf_iterator<char>(session.console.in)), {});
        if (is_utf8(input) && input.find('\0') == std::string::npos) {
            body.set("stdin", input);
        } else {
            body.set("stdin", encode_base64(input));
            body.set("stdin_encoding", "base64");
        }
    }
    return body;
}

std::string bytes_of(const Value& reply, const std::string& stream) {
    const auto text = reply[stream].string_or("");
    return reply[stream + "_encoding"].string_or("") == "base64" ? decode_base64(text) : text;
}

void print_output(Session& session, const Value& reply) {
    session.console.out << bytes_of(reply, "stdout") << std::flush;
    session.console.err << bytes_of(reply, "stderr") << std::flush;
    if (reply["truncated"].bool_or(false)) {
        session.console.err
            << "warning: the output was cut; exec.max_output_bytes of the daemon is the limit\n";
    }
}

int exec(Session& session, const Options& options) {
    Value reply;
    try {
        reply = session.call("POST", instance_path(options.name, "/exec"), body_of(session, options));
    } catch (const Error& error) {
        // Past its deadline a command has still said something.
        if (error.code() == Code::deadline && !session.json) print_output(session, error.details());
        throw;
    }
    if (session.json) {
        session.print_json(reply);
    } else {
        print_output(session, reply);
    }
    // A shell's convention for a command that a signal ended.
    if (const auto* signal = reply["signal"].if_int()) return 128 + static_cast<int>(*signal);
    return static_cast<int>(reply["exit_code"].int_or(exit_failed));
}

}  // namespace

void add_exec(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand(
        "exec",
        "Runs a command inside an instance and exits with its exit code.\n\n"
        "No shell is involved: for one, run it. Output arrives when the command has ended.\n\n"
        "Examples:\n"
        "  minions exec box -- uname -a\n"
        "  minions exec box -- sh -c 'ls /tmp | wc -l'\n"
        "  minions exec -i box -- tar -x -C /srv < files.tar");
    const auto options = std::make_shared<Options>();
    command->add_option("NAME", options->name, "Name of the instance.")->required();
    command->add_option("COMMAND", options->command, "Command and arguments; put '--' before them.");
    command->add_flag("-i,--interactive", options->interactive, "Pass this program's standard input on.");
    command
        ->add_option("-e,--env", options->environment,
                     "Environment variable, KEY=VALUE, or KEY to pass yours on.")
        ->allow_extra_args(false);
    command->add_option("-w,--workdir", options->directory, "Directory to run in.");
    command->add_option("-u,--user", options->user, "Name or UID[:GID] to run as.");
    command->add_option("-t,--timeout", options->timeout, "Seconds after which it is killed.");
    command->callback([&session, options] {
        session.takes_command = true;
        session.run = [&session, options] { return exec(session, *options); };
    });
}

}  // namespace minions::cli
