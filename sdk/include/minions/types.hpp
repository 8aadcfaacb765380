#pragma once

#include <minions/codec.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace minions {

/// Deadlines and time-outs; never jumps.
using SteadyTime = std::chrono::steady_clock::time_point;
using std::chrono::milliseconds;

/// Where an instance is in its life. `unknown` while its runtime cannot be asked.
enum class Status { creating, starting, running, paused, stopping, stopped, error, destroying, unknown };
template <>
struct EnumWords<Status> {
    static constexpr std::string_view words[] = {"creating", "starting", "running",    "paused", "stopping",
                                                 "stopped",  "error",    "destroying", "unknown"};
};

/// A port of the instance made reachable from the host.
struct PortSpec {
    int port = 0;                       ///< inside the instance
    std::string protocol = "tcp";       ///< "tcp" or "udp"
    std::string address = "127.0.0.1";  ///< on the host
    int host_port = 0;                  ///< 0: an ephemeral one, reported in InstanceFacts::ports

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("port", self.port,
              Field{.required = true, .min = 1, .max = 65535, .doc = "port inside the instance"});
        visit("protocol", self.protocol, Field{.max_size = 3, .doc = "tcp or udp"});
        visit("address", self.address, Field{.max_size = 64, .doc = "address on the host"});
        visit("host_port", self.host_port,
              Field{.min = 0, .max = 65535, .doc = "port on the host; 0 picks a free one"});
    }
};

/// What an instance should be, whatever runs it. Core has filled in defaults and checked every bound before a
/// runtime sees it, and refuses members whose feature the runtime does not declare.
struct InstanceSpec {
    std::string image;                      ///< a name that the runtime (containers) or core (VMs) resolves
    std::optional<int> cpus;                ///< nullopt: no limit (containers only)
    std::optional<std::int64_t> memory_mb;  ///< MiB; nullopt: no limit (containers only)
    std::optional<std::int64_t> disk_gb;    ///< GiB; feature "disk"
    std::vector<std::string> command;       ///< argv; empty: the image's own
    std::map<std::string, std::string> environment;  ///< secret: never logged
    std::map<std::string, std::string> labels;       ///< the user's own, kept on the outside object too
    std::vector<PortSpec> ports;                     ///< feature "ports"

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("image", self.image, Field{.max_size = 512});
        visit("cpus", self.cpus, Field{.min = 1, .max = 512});
        visit("memory_mb", self.memory_mb, Field{.min = 16, .max = 16777216});
        visit("disk_gb", self.disk_gb, Field{.min = 1, .max = 65536});
        visit("command", self.command, Field{.max_size = 1024});
        visit("environment", self.environment, Field{.secret = true, .max_size = 4096});
        visit("labels", self.labels, Field{.max_size = 256});
        visit("ports", self.ports, Field{.max_size = 64});
    }
};

/// What a runtime needs to find its instance again; opaque to core, kept in the database with its version.
struct RuntimeState {
    std::uint32_t version = 0;
    Value data;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("version", self.version);
        visit("data", self.data);
    }
};

/// An instance as core presents it to its runtime in every call.
struct Instance {
    std::string id;    ///< 12 characters base32, never reused; outside objects derive their names from it
    std::string name;  ///< for people and labels; unique among the owner's instances, can change by rename
    std::string owner;
    std::uint64_t boot = 0;  ///< counts starts; an event that carries an older one is dropped
    InstanceSpec spec;
    std::optional<RuntimeState> state;  ///< what was last saved or returned by create

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("id", self.id, Field{.required = true});
        visit("name", self.name, Field{.required = true});
        visit("owner", self.owner);
        visit("boot", self.boot);
        visit("spec", self.spec);
        visit("state", self.state);
    }
};

/// What a runtime knows of an instance at one moment.
struct InstanceFacts {
    Status status = Status::unknown;
    std::optional<std::string> ip;
    std::optional<std::int64_t> vsock_cid;
    std::optional<std::int64_t> pid;  ///< the VMM's or the container's first process, in the host's namespace
    std::map<std::string, int> ports;   ///< "8080/tcp" → port on the host
    std::optional<int> exit_code;       ///< of the last run, once it ended; 128+n for signal n
    std::optional<std::string> health;  ///< "starting", "healthy", "unhealthy"; nullopt where nothing checks
    std::optional<std::string> reason;  ///< a sentence, for `error`, `unknown` and degraded instances
    std::optional<std::string> handle;  ///< the engine's own id of it (container id), for people

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("status", self.status, Field{.required = true});
        visit("ip", self.ip);
        visit("vsock_cid", self.vsock_cid);
        visit("pid", self.pid);
        visit("ports", self.ports);
        visit("exit_code", self.exit_code);
        visit("health", self.health);
        visit("reason", self.reason);
        visit("handle", self.handle);
    }
    friend bool operator==(const InstanceFacts&, const InstanceFacts&) = default;
};

/// Whether a runtime can work on this host right now, and with which of its facets.
struct Health {
    bool healthy = false;
    std::string reason;   ///< why not, or what is limited; a sentence that names the cure
    std::string version;  ///< of the engine or VMM, where known
    std::map<std::string, std::string> missing;  ///< facet or feature → why it does not work here

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("healthy", self.healthy, Field{.required = true});
        visit("reason", self.reason);
        visit("version", self.version);
        visit("missing", self.missing);
    }
    friend bool operator==(const Health&, const Health&) = default;
};

/// Something outside the database that exists or may exist. Kinds of a runtime are its own words.
struct JournalRow {
    std::int64_t id = 0;
    std::string instance;  ///< id, or empty for what belongs to no instance (a built image)
    std::string kind;      ///< "container", "image", …
    std::string key;       ///< names the one object: what release() needs
    bool held = false;     ///< false: intended; the object may or may not exist

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("id", self.id);
        visit("instance", self.instance);
        visit("kind", self.kind, Field{.required = true});
        visit("key", self.key, Field{.required = true});
        visit("held", self.held);
    }
};

/// One step of something long, for people who wait.
struct Progress {
    std::string stage;    ///< "building", "booting": recorded with the operation
    std::string message;  ///< a line, may be empty
    std::optional<std::int64_t> done;
    std::optional<std::int64_t> total;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("stage", self.stage);
        visit("message", self.message);
        visit("done", self.done);
        visit("total", self.total);
    }
};

/// A command to run inside an instance.
struct ExecSpec {
    std::string command;  ///< looked up in PATH of the instance; no shell
    std::vector<std::string> args;
    std::map<std::string, std::string> env;  ///< added to the instance's own
    std::optional<std::string> cwd;
    std::optional<std::string> user;  ///< name or uid[:gid]
    bool tty = false;                 ///< one terminal; stderr arrives with stdout
    int rows = 24;
    int columns = 80;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("command", self.command, Field{.required = true, .max_size = 4096});
        visit("args", self.args, Field{.max_size = 4096});
        visit("env", self.env, Field{.secret = true, .max_size = 1024});
        visit("cwd", self.cwd, Field{.max_size = 4096});
        visit("user", self.user, Field{.max_size = 256});
        visit("tty", self.tty);
        visit("rows", self.rows, Field{.min = 1, .max = 65535});
        visit("columns", self.columns, Field{.min = 1, .max = 65535});
    }
};

/// How a command ended. Exactly one of exit_code and signal is set.
struct ExecEnd {
    std::optional<int> exit_code;
    std::optional<int> signal;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("exit_code", self.exit_code);
        visit("signal", self.signal);
    }
};

/// A message on an exec's control descriptor.
struct ExecControl {
    std::optional<int> signal;  ///< sent to the command's process group
    std::optional<int> rows;    ///< with columns: the terminal's new size
    std::optional<int> columns;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("signal", self.signal, Field{.min = 1, .max = 64});
        visit("rows", self.rows, Field{.min = 1, .max = 65535});
        visit("columns", self.columns, Field{.min = 1, .max = 65535});
    }
};

struct LogsSpec {
    std::optional<std::int64_t> tail;  ///< lines from the end; nullopt: all that is kept
    bool follow = false;               ///< until the instance ends or the reader closes

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("tail", self.tail, Field{.min = 0});
        visit("follow", self.follow);
    }
};

struct ResizeSpec {
    std::optional<int> cpus;
    std::optional<std::int64_t> memory_mb;
    std::optional<std::int64_t> disk_gb;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("cpus", self.cpus, Field{.min = 1, .max = 512});
        visit("memory_mb", self.memory_mb, Field{.min = 16, .max = 16777216});
        visit("disk_gb", self.disk_gb, Field{.min = 1, .max = 65536});
    }
};

/// The inside view of an instance: what a guest agent or an engine's accounting reports. Unknown figures are
/// null.
struct Stats {
    std::optional<std::int64_t> uptime_secs;
    std::optional<std::string> hostname;
    std::optional<std::int64_t> memory_total_mb;
    std::optional<std::int64_t> memory_used_mb;
    std::optional<double> disk_total_gb;
    std::optional<double> disk_used_gb;
    std::optional<double> cpu_usage_percent;  ///< of one CPU: two busy CPUs are 200
    std::optional<std::int64_t> network_rx_bytes;
    std::optional<std::int64_t> network_tx_bytes;
    std::optional<double> load_avg_1m;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("uptime_secs", self.uptime_secs);
        visit("hostname", self.hostname);
        visit("memory_total_mb", self.memory_total_mb);
        visit("memory_used_mb", self.memory_used_mb);
        visit("disk_total_gb", self.disk_total_gb);
        visit("disk_used_gb", self.disk_used_gb);
        visit("cpu_usage_percent", self.cpu_usage_percent);
        visit("network_rx_bytes", self.network_rx_bytes);
        visit("network_tx_bytes", self.network_tx_bytes);
        visit("load_avg_1m", self.load_avg_1m);
    }
};

struct SnapshotSpec {
    std::string name;
    bool memory = true;  ///< with the running state; else the disk alone

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("name", self.name, Field{.required = true, .max_size = 63});
        visit("memory", self.memory);
    }
};

struct SnapshotInfo {
    std::string name;
    bool memory = false;
    std::int64_t size_bytes = 0;
    std::string created_at;  ///< RFC 3339 UTC

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("name", self.name, Field{.required = true});
        visit("memory", self.memory);
        visit("size_bytes", self.size_bytes);
        visit("created_at", self.created_at);
    }
};

/// The label that marks, on engines that have labels, what was made for one installation; its value is
/// Host::installation(). Core writes it at the top of each Dockerfile that it generates, so that the layers
/// of a build that is cut off have it too.
inline constexpr const char* installation_label = "minions.installation";

/// An image to make from a directory that holds a Dockerfile.
struct BuildSpec {
    std::string tag;                            ///< the name that the image gets
    std::string dockerfile;                     ///< path inside the context
    std::map<std::string, std::string> labels;  ///< set on the image; core marks it as ours here
    std::optional<std::int64_t> memory_mb;      ///< limit of each build step
    std::optional<std::int64_t> max_bytes;      ///< of the image with its base, looked at after each step
    bool network = true;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("tag", self.tag, Field{.required = true});
        visit("dockerfile", self.dockerfile, Field{.required = true});
        visit("labels", self.labels);
        visit("memory_mb", self.memory_mb);
        visit("max_bytes", self.max_bytes, Field{.min = 1});
        visit("network", self.network);
    }
};

struct BuildResult {
    std::string image;  ///< content-addressed id, usable as InstanceSpec::image

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("image", self.image, Field{.required = true});
    }
};

/// Sent by a runtime whenever what it knows of an instance has changed by itself.
struct InstanceEvent {
    std::string instance;
    std::uint64_t boot = 0;  ///< Instance::boot of the start it speaks of
    InstanceFacts facts;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("instance", self.instance, Field{.required = true});
        visit("boot", self.boot);
        visit("facts", self.facts, Field{.required = true});
    }
};

/// Directories that are the plugin's own; they exist, mode 0700.
struct Directories {
    std::string state;  ///< survives a reboot
    std::string run;    ///< does not

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("state", self.state);
        visit("run", self.run);
    }
};

}  // namespace minions
