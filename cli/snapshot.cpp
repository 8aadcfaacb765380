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
    std::string snapshot;
    bool disk_only = false;
};

std::string snapshots_path(const Options& options, const std::string& below = {}) {
    const std::string one = options.snapshot.empty() ? "" : "/" + encode_segment(options.snapshot);
    return instance_path(options.name, fmt::format("/snapshots{}{}", one, below));
}

int create(Session& session, const Options& options) {
    Value body = Value::object({{"name", options.snapshot}});
    if (options.disk_only) body.set("memory", false);
    const auto made = session.call("POST", instance_path(options.name, "/snapshots"), body);
    if (session.json) {
        session.print_json(made);
    } else {
        session.console.out << fmt::format("snapshot '{}' of VM '{}' was taken\n", shown(made["name"]),
                                           options.name);
    }
    return exit_ok;
}

int list(Session& session, const Options& options) {
    const auto snapshots = session.call("GET", snapshots_path(options));
    if (session.json) {
        session.print_json(snapshots);
        return exit_ok;
    }
    const auto* array = snapshots.if_array();
    if (array == nullptr || array->empty()) {
        session.console.out << "No snapshots found.\n";
        return exit_ok;
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto& snapshot : *array) {
        rows.push_back({shown(snapshot["name"]), snapshot["memory"].bool_or(false) ? "disk, memory" : "disk",
                        shown(snapshot["size_bytes"]), shown(snapshot["created_at"])});
    }
    print_table(session.console.out, {"NAME", "HOLDS", "BYTES", "CREATED"}, rows);
    return exit_ok;
}

int restore(Session& session, const Options& options) {
    const auto document = session.call("POST", snapshots_path(options, "/restore"));
    if (session.json) {
        session.print_json(document);
    } else {
        session.console.out << fmt::format("VM '{}' is {}, as in snapshot '{}'\n", shown(document["name"]),
                                           shown(document["status"]), options.snapshot);
    }
    return exit_ok;
}

int remove(Session& session, const Options& options) {
    const auto reply = session.call("DELETE", snapshots_path(options));
    if (session.json) {
        session.print_json(reply);
    } else {
        session.console.out << fmt::format("snapshot '{}' of VM '{}' was deleted\n", options.snapshot,
                                           options.name);
    }
    return exit_ok;
}

}  // namespace

void add_snapshot(CLI::App& program, Session& session) {
    auto* command = program.add_subcommand("snapshot",
                                           "Takes, lists, restores and deletes snapshots of an instance.\n\n"
                                           "Examples:\n"
                                           "  minions snapshot create box clean\n"
                                           "  minions snapshot create --disk-only box small\n"
                                           "  minions snapshot list box\n"
                                           "  minions snapshot restore box clean");
    command->require_subcommand(1);
    const auto options = std::make_shared<Options>();
    const auto add = [&](const char* name, const char* description, bool names_one,
                         int (*run)(Session&, const Options&)) {
        auto* sub = command->add_subcommand(name, description);
        sub->add_option("NAME", options->name, "Name of the instance.")->required();
        if (names_one) sub->add_option("SNAPSHOT", options->snapshot, "Name of the snapshot.")->required();
        sub->callback([&session, options, run] {
            session.run = [&session, options, run] { return run(session, *options); };
        });
        return sub;
    };
    add("create", "Takes a snapshot: of the disk, and of the memory if it runs.", true, create)
        ->add_flag("--disk-only", options->disk_only, "Of the disk alone.");
    add("list", "Lists the snapshots of an instance.", false, list);
    add("restore", "Puts an instance back to a snapshot; what came after that is lost.", true, restore);
    add("delete", "Deletes a snapshot.", true, remove);
}

}  // namespace minions::cli
