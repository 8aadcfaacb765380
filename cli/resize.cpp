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
};

int resize(Session& session, const Options& options) {
    Value body = Value::object();
    if (options.cpus) body.set("cpus", *options.cpus);
    if (options.memory) body.set("memory_mb", *options.memory);
    if (options.disk) body.set("disk_gb", *options.disk);
    if (body.if_object()->empty())
        throw UsageError("nothing to resize", "name at least one of --cpus, --memory, --disk");
    const auto resized = session.call("POST", instance_path(options.name, "/resize"), body);
    if (session.json) {
        session.print_json(resized);
        return exit_ok;
    }
    auto& out = session.console.out;
    out << fmt::format("VM '{}' has {} CPUs, {} MiB of memory", shown(resized["name"]),
                       shown(resized["cpus"]), shown(resized["memory_mb"]));
    if (!resized["disk_gb"].is_null()) out << fmt::format(", {} GiB of disk", shown(resized["disk_gb"]));
    out << '\n';
    return exit_ok;
}

}  // namespace

void add_resize(CLI::App& program, Session& session) {
    auto* command =
        program.add_subcommand("resize",
                               "Changes the size of an instance, at once or when it starts next.\n\n"
                               "Examples:\n"
                               "  minions resize box --cpus 4 --memory 4096\n"
                               "  minions resize box --disk 40");
    const auto options = std::make_shared<Options>();
    command->add_option("NAME", options->name, "Name of the instance.")->required();
    command->add_option("--cpus", options->cpus, "Number of CPUs.");
    command->add_option("--memory", options->memory, "Memory in MiB.");
    command->add_option("--disk", options->disk, "Disk in GiB; a disk does not shrink.");
    command->callback(
        [&session, options] { session.run = [&session, options] { return resize(session, *options); }; });
}

}  // namespace minions::cli
