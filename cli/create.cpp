#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <ostream>

namespace minions::cli {
namespace {

struct Options {
    std::string name;
    std::optional<std::int64_t> cpus;
    std::optional<std::int64_t> memory;
    std::optional<std::int64_t> disk;
    std::string image;
    std::string runtime;
    std::vector<std::string> environment;
    std::vector<std::string> labels;
    std::vector<std::string> ports;
};

Value body_of(const Options& options, const std::vector<std::string>& command) {
    Value body = Value::object({{"name", options.name}});
    if (options.cpus) body.set("cpus", *options.cpus);
    if (options.memory) body.set("memory_mb", *options.memory);
    if (options.disk) body.set("disk_gb", *options.disk);
    if (!options.image.empty()) body.set("image", options.image);
    if (!options.runtime.empty()) body.set("runtime", options.runtime);
    if (!options.environment.empty()) body.set("environment", key_values(options.environment, "--env", true));
    if (!options.labels.empty()) body.set("labels", key_values(options.labels, "--label", false));
    Value ports = Value::array();
    for (const auto& port : options.ports) ports.push(published_port(port));
    if (!options.ports.empty()) body.set("ports", std::move(ports));
    if (!command.empty()) body.set("command", Value::Array(command.begin(), command.end()));
    return body;
}

int create(Session& session, const Options& options) {
    const auto made = session.call("POST", "/api/vms", body_of(options, session.command));
    if (session.json) {
        session.print_json(made);
        return exit_ok;
    }
    auto& out = session.console.out;
    out << fmt::format("VM '{}' is {}", shown(made["name"]), shown(made["status"]));
    if (!made["ip"].is_null()) out << " at " << shown(made["ip"]);
    out << '\n';
    const auto* ports = made["ports"].if_object();
    if (ports != nullptr && !ports->empty()) out << "ports: " << shown(made["ports"]) << '\n';
    return exit_ok;
}

}  // namespace

void add_create(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand(
        "create",
        "Creates an instance and starts it; returns when it runs.\n\n"
        "What stands after '--' is the instance's command, else its image decides.\n\n"
        "Examples:\n"
        "  minions create box --cpus 4 --memory 2048\n"
        "  minions create web --runtime docker --image python:3.11-slim -p 8080:80 -- python -m http.server "
        "80\n"
        "  API_KEY=secret minions create job --image worker --env API_KEY --label team=research");
    const auto options = std::make_shared<Options>();
    command->add_option("NAME", options->name, "Lower case letters, digits and hyphens.")->required();
    command->add_option("--cpus", options->cpus, "Number of CPUs. Default: 2.");
    command->add_option("--memory", options->memory, "Memory in MiB. Default: 1024.");
    command->add_option("--disk", options->disk, "Disk in GiB.");
    command->add_option("--image", options->image, "Image to start from.");
    command->add_option("--runtime", options->runtime,
                        "Runtime; see 'minions plugins'. Default: the daemon's.");
    command
        ->add_option("-e,--env", options->environment,
                     "Environment variable, KEY=VALUE, or KEY to pass yours on.")
        ->allow_extra_args(false);
    command->add_option("-l,--label", options->labels, "Label, KEY=VALUE.")->allow_extra_args(false);
    command->add_option("-p,--publish", options->ports, "Port on the host: [[ADDRESS:]HOST_PORT:]PORT[/udp].")
        ->allow_extra_args(false);
    command->callback([&session, options] {
        session.takes_command = true;
        session.run = [&session, options] { return create(session, *options); };
    });
}

}  // namespace minions::cli
