#include "cli/commands.hpp"
#include "cli/operations.hpp"
#include "cli/output.hpp"
#include "cli/own_daemon.hpp"

#include <minions/base/fd.hpp>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <ostream>

namespace minions::cli {
namespace {

struct Options {
    std::string name;
    std::vector<std::string> names;
    std::string recipe = "debian";
    std::string suite;
    std::string mirror;
    std::vector<std::string> include;
    std::optional<std::int64_t> size;
    std::string file;
    std::string format;
    std::string kernel_from;
    std::string command_line;
    std::string state_dir;
    bool detach = false;
};

/// Has the command done by the daemon, or by one of its own where a state directory is given.
void act(Session& session, const std::shared_ptr<Options>& options,
         int (*command)(Session&, const Options&)) {
    session.run = [&session, options, command] {
        if (options->state_dir.empty()) return command(session, *options);
        if (options->detach) throw UsageError("--detach: the daemon of --state-dir ends with the command");
        const OwnDaemon daemon(options->state_dir);
        session.host = daemon.address();
        return command(session, *options);
    };
}

/// Sends the request of a change, and waits for what it makes unless that is not wanted.
int change(Session& session, http::Request request, bool detach) {
    request.headers.emplace_back("Prefer", "respond-async");
    const auto reply = session.send(std::move(request));
    const auto accepted = parse_json(reply.body);
    if (detach) {
        if (session.json) {
            session.print_json(accepted);
        } else {
            session.console.out << fmt::format("image '{}' is being made by operation {}\n",
                                               shown(accepted["subject"]), shown(accepted["id"]));
        }
        return exit_ok;
    }
    const auto image = wait_for_operation(session, accepted, ProgressShown::on_terminal);
    if (session.json) {
        session.print_json(image);
    } else {
        session.console.out << fmt::format("image '{}' is {}\n", shown(image["name"]), shown(image["id"]));
    }
    return exit_ok;
}

int build(Session& session, const Options& options) {
    Value body = Value::object({{"name", options.name}, {"recipe", options.recipe}});
    if (!options.suite.empty()) body.set("suite", options.suite);
    if (!options.mirror.empty()) body.set("mirror", options.mirror);
    if (!options.include.empty())
        body.set("include", Value::Array(options.include.begin(), options.include.end()));
    if (options.size) body.set("size_mb", *options.size);
    http::Request request{"POST", "/api/images/build"};
    request.headers = {{"Content-Type", "application/json"}};
    request.body = to_json(body);
    return change(session, std::move(request), options.detach);
}

int import(Session& session, const Options& options) {
    const bool standard = options.file == "-";
    const auto file = std::make_shared<Fd>(standard ? duplicate(STDIN_FILENO)
                                                    : Fd(::open(options.file.c_str(), O_RDONLY | O_CLOEXEC)));
    if (!*file) throw error_from_errno(errno, fmt::format("cannot open {}", options.file));
    std::string target = fmt::format("/api/images?name={}", encode_segment(options.name));
    const auto add = [&](const char* name, const std::string& value) {
        if (!value.empty()) target += fmt::format("&{}={}", name, encode_segment(value));
    };
    add("format", options.format);
    add("kernel_from", options.kernel_from);
    add("command_line", options.command_line);
    http::Request request{"POST", target};
    request.headers = {{"Content-Type", "application/octet-stream"}};
    request.source = [file, name = options.file](char* data, std::size_t size) {
        for (;;) {
            const ssize_t got = ::read(file->get(), data, size);
            if (got >= 0) return static_cast<std::size_t>(got);
            if (errno != EINTR) throw error_from_errno(errno, fmt::format("cannot read {}", name));
        }
    };
    return change(session, std::move(request), options.detach);
}

int list(Session& session, const Options&) {
    const auto images = session.call("GET", "/api/images");
    if (session.json) {
        session.print_json(images);
        return exit_ok;
    }
    const auto* array = images.if_array();
    if (array == nullptr || array->empty()) {
        session.console.out << "No images found.\n";
        return exit_ok;
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto& image : *array) {
        constexpr std::int64_t mib = std::int64_t{1} << 20;
        rows.push_back({shown(image["name"]), shown(image["id"]).substr(0, 19), shown(image["recipe"]),
                        fmt::format("{} MiB", (image["size_bytes"].int_or(0) + mib - 1) / mib),
                        shown(image["created_at"]), shown(image["used_by"])});
    }
    print_table(session.console.out, {"NAME", "ID", "RECIPE", "SIZE", "CREATED", "USED BY"}, rows);
    return exit_ok;
}

int remove(Session& session, const Options& options) {
    for (const auto& name : options.names) {
        const auto reply = session.call("DELETE", fmt::format("/api/images/{}", encode_segment(name)));
        if (session.json) {
            session.print_json(reply);
        } else {
            session.console.out << shown(reply["message"]) << '\n';
        }
    }
    return exit_ok;
}

void add_build(CLI::App& command, Session& session, const std::shared_ptr<Options>& options) {
    auto* building = command.add_subcommand("build", "Builds an image from packages.");
    building->add_option("NAME", options->name, "Name of the image.")->required();
    building->add_option("--recipe", options->recipe,
                         "debian: with systemd; minimal: a kernel, busybox and the agent. Default: debian.");
    building->add_option("--suite", options->suite, "Suite of Debian or Ubuntu. Default: bookworm.");
    building->add_option("--mirror", options->mirror,
                         "Archive of packages. Default: the one that the daemon's machine uses.");
    building->add_option("--include", options->include, "Further packages, separated by commas.")
        ->delimiter(',');
    building->add_option("--size-mb", options->size,
                         "Size of its disk in MiB. Default: what it needs; a VM's own disk can be larger.");
    building->add_flag("-d,--detach", options->detach, "Return as soon as the daemon has accepted it.");
    building->callback([&session, options] { act(session, options, build); });
}

void add_import(CLI::App& command, Session& session, const std::shared_ptr<Options>& options) {
    auto* importing = command.add_subcommand(
        "import", "Makes an image of a disk (raw, qcow2) or of a tar of a root file system.");
    importing->add_option("NAME", options->name, "Name of the image.")->required();
    importing->add_option("FILE", options->file, "The disk or archive; - reads it from stdin.")->required();
    importing->add_option("--format", options->format,
                          "raw, qcow2, tar, tar.gz or tar.zst. Default: what its first bytes say.");
    importing->add_option("--kernel-from", options->kernel_from,
                          "Image whose kernel it starts with. Default: the daemon's images.default.");
    importing->add_option("--command-line", options->command_line,
                          "Of the kernel, as root=/dev/vda1. Default: that image's.");
    importing->add_flag("-d,--detach", options->detach, "Return as soon as the daemon has all of it.");
    importing->callback([&session, options] { act(session, options, import); });
}

}  // namespace

void add_image(CLI::App& program, Session& session) {
    auto* command =
        program.add_subcommand("image",
                               "Builds, imports, lists and deletes the images that VMs start from.\n\n"
                               "Examples:\n"
                               "  minions image build debian-12\n"
                               "  minions image build tiny --recipe minimal\n"
                               "  minions image build work --include git,python3\n"
                               "  docker export box | minions image import box - --kernel-from tiny\n"
                               "  minions image list\n"
                               "  minions image build tiny --recipe minimal --state-dir /var/lib/minions\n"
                               "  minions image delete tiny");
    command->require_subcommand(1);
    const auto options = std::make_shared<Options>();
    command->add_option("--state-dir", options->state_dir,
                        "Work on this state directory, whose daemon is not running.");
    add_build(*command, session, options);
    add_import(*command, session, options);
    command->add_subcommand("list", "Lists the images, and which VMs use them.")
        ->callback([&session, options] { act(session, options, list); });
    auto* deleting = command->add_subcommand("delete", "Deletes images that no VM uses.");
    deleting->add_option("NAME", options->names, "Names of images.")->required();
    deleting->callback([&session, options] { act(session, options, remove); });
}

}  // namespace minions::cli
