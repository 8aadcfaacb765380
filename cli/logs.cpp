#include "cli/arguments.hpp"
#include "cli/commands.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <ostream>

namespace minions::cli {
namespace {

struct Options {
    std::string name;
    bool follow = false;
    std::optional<std::uint64_t> tail;
};

int logs(Session& session, const Options& options) {
    std::string target = instance_path(options.name, "/logs");
    char separator = '?';
    if (options.follow) {
        target += "?follow=1";
        separator = '&';
    }
    if (options.tail) target += fmt::format("{}tail={}", separator, *options.tail);
    session.stream({"GET", target}, [&](std::string_view piece) {
        session.console.out << piece << std::flush;
        return session.console.out.good();
    });
    return exit_ok;
}

}  // namespace

void add_logs(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand(
        "logs",
        "Prints the console of an instance: a VM's serial port, a container's output.\n\n"
        "Examples:\n"
        "  minions logs box\n"
        "  minions logs -f --tail 20 box");
    const auto options = std::make_shared<Options>();
    command->add_option("NAME", options->name, "Name of the instance.")->required();
    command->add_flag("-f,--follow", options->follow, "Go on as more comes, until the instance ends.");
    command->add_option("--tail", options->tail, "Only so many lines from the end.");
    command->callback(
        [&session, options] { session.run = [&session, options] { return logs(session, *options); }; });
}

}  // namespace minions::cli
