#include "core/config/schema.hpp"

#include "core/access/access.hpp"
#include "core/net/options.hpp"

namespace minions::core {
namespace {

constexpr std::int64_t unbounded = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t day = std::int64_t{24} * 3600;
constexpr std::int64_t mib = std::int64_t{1} << 20;
constexpr std::int64_t gib = std::int64_t{1} << 30;

ConfigKey make(KeyType type, const char* name, const char* value, std::int64_t min, std::int64_t max,
               const char* doc) {
    ConfigKey key;
    key.name = name;
    key.type = type;
    key.default_value = value;
    key.min = min;
    key.max = max;
    key.doc = doc;
    return key;
}

ConfigKey text(const char* name, const char* value, const char* doc) {
    return make(KeyType::string, name, value, 0, unbounded, doc);
}

ConfigKey list(const char* name, const char* value, const char* doc) {
    return make(KeyType::list, name, value, 0, unbounded, doc);
}

ConfigKey flag(const char* name, const char* value, const char* doc) {
    return make(KeyType::boolean, name, value, 0, unbounded, doc);
}

ConfigKey integer(const char* name, const char* value, std::int64_t min, std::int64_t max, const char* doc) {
    return make(KeyType::integer, name, value, min, max, doc);
}

ConfigKey bytes(const char* name, const char* value, std::int64_t min, std::int64_t max, const char* doc) {
    return make(KeyType::size, name, value, min, max, doc);
}

ConfigKey seconds(const char* name, const char* value, std::int64_t min, std::int64_t max, const char* doc) {
    return make(KeyType::duration, name, value, min, max, doc);
}

ConfigKey word(ConfigKey key, std::vector<std::string> words) {
    key.words = std::move(words);
    return key;
}

ConfigKey checked(ConfigKey key, void (*check)(std::string_view)) {
    key.check = check;
    return key;
}

ConfigKey reloadable(ConfigKey key) {
    key.reloadable = true;
    return key;
}

std::vector<ConfigKey> make_schema() {
    return {
        list(
            "server.bind", "127.0.0.1:3000",
            "TCP addresses to listen on, ADDRESS:PORT each; port 0 picks a free one. Beyond loopback a token "
            "or `access.trusted` is needed."),
        text("server.socket", "{run_dir}/minions.sock", "Unix socket to listen on; empty for none."),
        text("state_dir", "/var/lib/minions", "What survives a reboot: the database, images, instances."),
        text("run_dir", "/run/minions", "What does not: sockets and the like."),

        list("plugin_dirs", "",
             "Further directories with runtime plugins, beside the one that belongs to the installation."),
        list("plugins.enabled", "", "Runtimes to load; empty loads every plugin that is found."),
        list("plugins.required", "", "Runtimes without which the daemon does not start."),
        list("plugins.isolated", "", "Runtimes that run in a process of their own."),
        seconds("plugins.describe_timeout_seconds", "5", 1, 60,
                "How long a plugin may take to describe itself before it is refused."),
        text("runtimes.default", "",
             "Runtime of an instance that names none; empty takes the first healthy one that runs VMs, else "
             "the first healthy one."),

        checked(
            reloadable(list("access.trusted", "",
                            "Networks whose callers need no token, CIDR=SCOPE each (`100.64.0.0/10=manage`); "
                            "scopes are read, exec, manage, admin.")),
            [](std::string_view network) { parse_trusted(network); }),
        reloadable(list("access.hosts", "", "Further names of this daemon that a `Host` header may carry.")),
        text("access.group", "minions", "Local group whose members may use the daemon without a token."),

        word(list("deployments.allowed_schemes", "https, ssh",
                  "Kinds of repository URLs that may be deployed."),
             {"https", "ssh", "http", "file"}),
        flag("deployments.allow_private_addresses", "false",
             "Whether repositories may be on loopback, link-local or private addresses."),
        text("deployments.python_image", "python:{version}-slim",
             "Base image of generated Dockerfiles; `{version}` becomes the request's `python_version`."),
        text("deployments.key_dir", "/etc/minions/keys",
             "The one directory that `ssh_key_path` may point into."),
        text("deployments.known_hosts", "/etc/minions/known_hosts",
             "Host keys of ssh servers that repositories are cloned from."),
        text("deployments.pip_index_url", "",
             "Package index that builds install from; empty leaves pip's own. It ends up in images: no "
             "credentials."),
        text("deployments.runtime", "",
             "Runtime that builds and runs deployments; empty takes the first healthy one that can build."),
        seconds("deployments.start_window_seconds", "2", 0, 300,
                "How long a deploy waits to see whether the container stays up."),
        seconds("deployments.clone_timeout_seconds", "300", 1, day, "Longest time for cloning a repository."),
        seconds("deployments.build_timeout_seconds", "1800", 1, day, "Longest time for building an image."),
        bytes("deployments.max_repository_bytes", "1GiB", mib, unbounded,
              "Largest clone that is accepted, with its history."),
        bytes(
            "deployments.max_image_bytes", "8GiB", 0, unbounded,
            "Largest image that a build may make, with its base; 0 for no limit. Looked at after each step: "
            "what a single step writes is bounded by the build's time alone."),
        integer("deployments.build_memory_mb", "2048", 0, mib,
                "Memory of each step of a build, in MiB; 0 for no limit."),
        integer("deployments.max_concurrent_builds", "2", 1, 64,
                "Clones and builds that run at once; further deploys wait."),
        integer("deployments.max_pending", "64", 1, 1024,
                "Deploys that wait or are under way at once; further ones are refused with 429."),
        seconds("deployments.queue_timeout_seconds", "3600", 1, day,
                "How long a deploy may wait for its clone and build to begin."),
        text("deployments.work_dir", "/var/tmp",
             "Where clones live while they are built; `deployments.user` must be able to reach it."),
        text("deployments.user", "nobody", "Unprivileged user that git runs as when the daemon is root."),

        integer("http.max_connections", "4096", 16, mib, "Open connections; beyond, the idlest is closed."),
        bytes("http.max_body_bytes", "1MiB", 1024, gib, "Largest JSON body of a request."),
        bytes("http.max_upload_bytes", "8GiB", mib, unbounded, "Largest body of a file upload."),
        seconds("http.header_timeout_seconds", "10", 1, 3600,
                "Time from the first byte of a request's head to its last."),
        seconds("http.body_timeout_seconds", "60", 1, day,
                "Time for a JSON body, and between two pieces of an upload."),
        seconds("http.idle_timeout_seconds", "75", 1, day, "Time that a connection stays open unused."),
        seconds("http.write_timeout_seconds", "30", 1, 3600,
                "Time that a client may go without reading its reply."),
        integer("http.workers", "0", 0, 256,
                "Threads for quick requests; 0 goes by the number of processors."),
        integer("http.waiting_threads", "128", 1, 4096, "Requests that may wait for operations at once."),
        integer("http.exec_threads", "128", 1, 4096, "Commands (exec) that may run at once."),
        integer("http.stream_threads", "256", 1, 4096, "Followed logs, event streams and transfers at once."),

        integer("operations.threads", "64", 1, 1024,
                "Operations that run at once on each runtime, and deployments; further ones wait."),
        seconds("operations.create_timeout_seconds", "300", 1, day,
                "Longest time of a create; past it, it is rolled back."),
        seconds("operations.timeout_seconds", "120", 1, day,
                "The same for every other change of an instance."),
        reloadable(
            text("images.default", "",
                 "Image of a VM that names none, and the one whose kernel imported disks start with.")),
        bytes("images.max_bytes", "64GiB", mib, unbounded,
              "Largest image that is imported; `http.max_upload_bytes` bounds what is sent for it."),
        seconds("images.build_timeout_seconds", "1800", 1, day,
                "Longest time for building or importing an image."),
        text("images.recipes_dir", "",
             "Directory with the scripts that build images; empty takes those of the installation."),
        integer(
            "vms.uid_first", "1900000000", 1, 4'000'000'000,
            "First of the users that processes of VMs run as when the daemon is root, and the number of the "
            "group that they share. Nobody else may use them."),
        integer("vms.uid_count", "65536", 1, 1'000'000,
                "How many such users there are: VMs that the daemon can have."),
        integer("vms.agent_timeout_seconds", "60", 1, 3600,
                "Longest time from a VM's start until its guest's agent answers; `runtimes.<name>."
                "agent_timeout_seconds` overrides it for one runtime."),
        integer("vms.disk_gb", "10", 1, 65536,
                "GiB of a VM's disk whose create names no size; an image that is larger keeps its own. "
                "`runtimes.<name>.disk_gb` overrides it for one runtime."),
        bytes("vms.output_bytes", "1MiB", 4096, gib,
              "Largest file with the output of a VM's process; one that is full is kept beside the next."),

        flag(
            "network.manage", "true",
            "Whether the daemon makes the bridge and packet filter of VMs; otherwise they are yours, used as "
            "they are."),
        checked(
            text("network.bridge", "br0",
                 "Bridge that VMs are on; empty for none: each VM then reaches out through its VMM alone."),
            check_bridge_name),
        checked(text("network.subnet", "10.0.0.1/16",
                     "Network of VMs, given by the host's address in it with a prefix of 8 to 30."),
                [](std::string_view subnet) { parse_subnet(subnet); }),
        checked(list("network.dns", "",
                     "Name servers (IPv4) of VMs; empty takes those that the host itself asks."),
                [](std::string_view server) { parse_address(server); }),
        flag("network.isolate", "true", "Whether VMs are kept from each other."),
        checked(integer("network.mtu", "0", 0, 65521, "MTU of VMs; 0 takes that of the way out."), check_mtu),

        reloadable(bytes("exec.max_output_bytes", "16MiB", 1024, gib,
                         "Largest stdout, and largest stderr, of an exec that does not stream; more is cut "
                         "and the reply says so.")),
        reloadable(seconds("exec.timeout_seconds", "300", 1, 30 * day,
                           "Longest time of an exec that names none and does not stream.")),
        integer("events.retention", "100000", 100, 10'000'000, "Events that are kept for replay."),

        reloadable(word(text("log.level", "info", "Least important messages that are logged."),
                        {"debug", "info", "warning", "error"})),
        word(text("log.format", "auto",
                  "How messages look on stderr; auto is text on a terminal, journald under systemd, else "
                  "json."),
             {"auto", "text", "json", "journald"}),
    };
}

}  // namespace

const std::vector<ConfigKey>& core_schema() {
    static const std::vector<ConfigKey> schema = make_schema();
    return schema;
}

}  // namespace minions::core
