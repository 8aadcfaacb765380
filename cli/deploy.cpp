#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/operations.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdlib>
#include <ostream>

namespace minions::cli {
namespace {

struct Options {
    std::string repository;
    std::string name;
    std::string branch;
    std::string python;
    std::optional<std::int64_t> port;
    std::string health_path;
    std::vector<std::string> environment;
    std::string auth_variable;
    std::string ssh_key;
    bool own_dockerfile = false;
    bool detach = false;
    bool quiet = false;
};

Value body_of(const Options& options, const std::vector<std::string>& command) {
    Value body = Value::object({{"repo_url", options.repository}, {"agent_name", options.name}});
    if (!options.branch.empty()) body.set("branch", options.branch);
    if (!options.python.empty()) body.set("python_version", options.python);
    if (options.port) body.set("expose_port", *options.port);
    if (!options.health_path.empty()) body.set("health_path", options.health_path);
    if (!options.environment.empty()) body.set("environment", key_values(options.environment, "--env", true));
    if (!options.ssh_key.empty()) body.set("ssh_key_path", options.ssh_key);
    if (options.own_dockerfile) body.set("dockerfile", "repository");
    if (!options.auth_variable.empty()) {
        const char* token = std::getenv(options.auth_variable.c_str());
        if (token == nullptr) {
            throw UsageError(fmt::format("--auth-token-env {}: there is no such environment variable",
                                         options.auth_variable));
        }
        body.set("auth_token", token);
    }
    if (!command.empty()) body.set("startup_cmd", Value::Array(command.begin(), command.end()));
    return body;
}

/// Copies the log of a deployment to stderr until it is complete.
void follow_log(Session& session, const std::string& deployment) {
    try {
        session.stream(
            {"GET", fmt::format("/api/v1/vm/deployments/{}/log?follow=1", encode_segment(deployment))},
            [&](std::string_view piece) {
                session.console.err << piece << std::flush;
                return true;
            });
    } catch (const CannotConnect&) {
        throw;
    } catch (const Error& error) {
        // The log is for who watches; the operation says how it ended.
        session.console.err << "warning: the log cannot be followed: " << printable(error.message()) << '\n';
    }
}

int print_deployed(Session& session, const Value& result) {
    if (session.json) {
        session.print_json(result);
        return exit_ok;
    }
    session.console.out << fmt::format("{} is {}", shown(result["container_name"]), shown(result["status"]));
    const auto* ports = result["ports"].if_object();
    if (ports != nullptr && !ports->empty()) session.console.out << ", ports " << shown(result["ports"]);
    session.console.out << '\n';
    return exit_ok;
}

int deploy(Session& session, const Options& options) {
    http::Request request{"POST", "/api/v1/vm/deploy"};
    request.body = to_json(body_of(options, session.command));
    request.headers = {{"Content-Type", "application/json"}, {"Prefer", "respond-async"}};
    const auto reply = session.send(std::move(request));
    const auto accepted = parse_json(reply.body);
    if (reply.status != 202) return print_deployed(session, accepted);

    const auto operation = accepted["id"].string_or("");
    if (options.detach) {
        if (session.json) {
            session.print_json(accepted);
        } else {
            session.console.out << fmt::format("deployment {} goes on as operation {}\n",
                                               shown(accepted["subject"]), operation);
        }
        return exit_ok;
    }
    if (!options.quiet) follow_log(session, accepted["subject"].string_or(""));
    const auto row = wait_for_end(session, operation, ProgressShown::never);
    if (row["status"].string_or("") == "succeeded") return print_deployed(session, row["result"]);
    if (row["error"].is_null()) {
        throw Error(Code::failed, fmt::format("the deployment was {}", row["status"].string_or("lost")));
    }
    const auto error = decode_error(row["error"]);
    const auto stage = row["stage"].string_or("");
    throw Error(error.code(),
                stage.empty() ? error.message() : fmt::format("{} failed: {}", stage, error.message()),
                error.hint());
}

}  // namespace

void add_deploy(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand(
        "deploy",
        "Builds a git repository into an image and runs it as a container.\n\n"
        "The log of clone and build goes to stderr, the result to stdout. What stands after '--' is the\n"
        "container's command, else 'python main.py'.\n\n"
        "Examples:\n"
        "  minions deploy https://your.forge/your/agent.git --name my-agent\n"
        "  minions deploy https://your.forge/agent.git --name a --port 9000 --env API_KEY -- python app.py\n"
        "  minions deploy git@your.forge:your/private.git --name b --ssh-key /etc/minions/keys/deploy");
    const auto options = std::make_shared<Options>();
    command->add_option("REPOSITORY", options->repository, "URL of the git repository: https or ssh.")
        ->required();
    command->add_option("-n,--name", options->name, "Name of the agent.")->required();
    command->add_option("-b,--branch", options->branch, "Branch to clone. Default: main.");
    command->add_option("--python", options->python, "Python version of the base image. Default: 3.11.");
    command->add_option("--port", options->port, "Port that the agent listens on. Default: 8080.");
    command->add_option("--health-path", options->health_path,
                        "Path that its health check asks. Default: /health.");
    command
        ->add_option("-e,--env", options->environment,
                     "Environment variable, KEY=VALUE, or KEY to pass yours on.")
        ->allow_extra_args(false);
    command->add_option("--auth-token-env", options->auth_variable,
                        "Environment variable that holds the token for a private repository over https.");
    command->add_option("--ssh-key", options->ssh_key,
                        "Private key on the daemon's machine, below deployments.key_dir.");
    command->add_flag("--own-dockerfile", options->own_dockerfile, "Use the repository's own Dockerfile.");
    command->add_flag("-d,--detach", options->detach, "Return as soon as the daemon has accepted it.");
    command->add_flag("-q,--quiet", options->quiet, "Do not show the log.");
    command->callback([&session, options] {
        session.takes_command = true;
        session.run = [&session, options] { return deploy(session, *options); };
    });
}

}  // namespace minions::cli
