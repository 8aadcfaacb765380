#pragma once

#include <minions/base/fd.hpp>
#include <minions/context.hpp>
#include <minions/types.hpp>

#include <memory>
#include <string>
#include <vector>

namespace minions {

/// What runs an instance: a VMM, a container engine, a plain process. One object per plugin, made when the
/// plugin is loaded from its Host and its configuration, never destroyed before the process ends. Its
/// constructor has run in a child before, which was ended: it opens what health() needs, and changes nothing.
///
/// Core calls at most one mutating method (create, start, stop, kill, destroy, and those of facets so marked)
/// of an instance at a time; different instances, and all methods tagged [any], run in parallel. destroy()
/// and a forced stop first cancel a mutating call under way and wait for it to return. Every call returns or
/// throws by ctx.deadline(); on cancellation it stops as soon as it can and throws cancelled, leaving what is
/// in the journal.
///
/// The tag after each contract: [what it runs on | state before → state after | may it be repeated].
/// Failures are Error; anything else that is thrown counts as Code::internal.
struct Runtime {
    virtual ~Runtime() = default;

    /// Whether the runtime works here and now, in at most two seconds. Asked at start, every so often, and
    /// after Host::health_changed(). An absent engine is a normal answer and not an Error. [any | no state |
    /// repeatable]
    virtual Health health(Context& ctx) = 0;

    /// Makes everything the instance needs except its life: disk, directories, the engine-side object. Each
    /// outside object is journalled through ctx before it exists. Core has checked the spec, chosen the id
    /// and committed the instance as `creating`; if this throws, core calls destroy(), then release() for the
    /// rows that remain, newest first. Returns what recover() will need. Throws not_found (image), no_space,
    /// unavailable. [instance | absent → stopped | not repeatable]
    virtual RuntimeState create(Context& ctx, const Instance& instance) = 0;

    /// Gives it life, and returns when it runs: for a VM when its agent answers, for a container when its
    /// process has been started. instance.boot has been raised, and events about this life must carry it.
    /// After a throw the instance must be as dead as before. A container that ended within the call is a
    /// normal return (stopped). [instance | stopped → running | not repeatable]
    virtual InstanceFacts start(Context& ctx, const Instance& instance) = 0;

    /// Asks it to end, and returns when it is dead: politely for `grace`, then as kill() does. What is dead
    /// already is no error. [instance | running, paused → stopped | repeatable]
    virtual InstanceFacts stop(Context& ctx, const Instance& instance, milliseconds grace) = 0;

    /// Ends it at once, without asking. [instance | any → stopped | repeatable]
    virtual void kill(Context& ctx, const Instance& instance) = 0;

    /// Removes every trace, whatever state the instance is in, known or unknown, half made or gone.
    /// instance.state may be absent when create() never returned. [instance | any → absent | repeatable]
    virtual void destroy(Context& ctx, const Instance& instance) = 0;

    /// The truth about one instance, from the engine and not from memory. Throws not_found when it is gone,
    /// unavailable when nobody can say. [any | no change | repeatable]
    virtual InstanceFacts inspect(Context& ctx, const Instance& instance) = 0;

    /// Undoes one journal row of this runtime's own kinds. Nothing to undo is success; what carries another
    /// installation's id is left alone. [any | object → absent | repeatable]
    virtual void release(Context& ctx, const JournalRow& row) = 0;

    /// Start of the daemon: core hands over each instance that it knows of, with its saved state, in any
    /// order and from several threads. Must not wait for an engine: return the facts where they are at hand,
    /// otherwise nullopt and report() them later, at the latest when the engine answers. Core shows `unknown`
    /// until then. [instance | saved → known | not repeatable]
    virtual std::optional<InstanceFacts> recover(Context& ctx, const Instance& instance) = 0;

    /// The end of recovery: all instances have been handed over; what is ours on the engine beyond them is an
    /// orphan. From here on changes are reported as they happen. [any | once, after the last recover() | not
    /// repeatable]
    virtual void recovered(Context& ctx) = 0;
};

/// The descriptors of an exec, owned by the callee. `input` is read until its end (absent: no standard
/// input); `output` and `error` are written with blocking writes, so that a slow reader slows the command and
/// nothing else, and a reader that went away (EPIPE) ends the command; with a tty `error` is absent.
/// `control` is the receiving end of a SOCK_SEQPACKET pair that brings ExecControl documents until its end.
struct ExecStreams {
    Fd input;
    Fd output;
    Fd error;
    Fd control;
};

/// Facets: what a runtime can do beyond life and death. A runtime derives from those that it has, and the
/// list in its descriptor is computed from its class. All may run beside mutating calls unless marked as
/// mutating.

struct ExecFacet {
    static constexpr const char* facet = "exec";
    virtual ~ExecFacet() = default;
    /// Runs a command, and returns when it has ended and all its output is written and closed. A command that
    /// cannot be found ends with exit code 127 and a line on `error` that names it; one that may not be
    /// executed with 126. When the call is cancelled or its deadline passes, the command's whole process
    /// group is killed first; so too when a reader of its output is gone. Throws wrong_state (not running),
    /// unavailable. [any | running | repeatable]
    virtual ExecEnd exec(Context& ctx, const Instance& instance, const ExecSpec& spec,
                         ExecStreams streams) = 0;
};

struct LogsFacet {
    static constexpr const char* facet = "logs";
    virtual ~LogsFacet() = default;
    /// Writes the console (a VM's serial port; a container's stdout and stderr in the order of arrival) to
    /// `out` and closes it. Returns early when the reader is gone. [any | created | repeatable]
    virtual void logs(Context& ctx, const Instance& instance, const LogsSpec& spec, Fd out) = 0;
};

struct FilesFacet {
    static constexpr const char* facet = "files";
    virtual ~FilesFacet() = default;
    /// Writes `path` (absolute; a file or directory) as a tar stream to `out`. Throws not_found.
    /// [any | created | repeatable]
    virtual void read_files(Context& ctx, const Instance& instance, const std::string& path, Fd out) = 0;
    /// Unpacks a tar stream below the directory `path` inside the instance, following no link out of it.
    /// [any | created | repeatable]
    virtual void write_files(Context& ctx, const Instance& instance, const std::string& path, Fd in) = 0;
};

struct ForwardFacet {
    static constexpr const char* facet = "forward";
    virtual ~ForwardFacet() = default;
    /// A connected byte stream to a TCP port inside the instance, on its loopback. Throws unavailable when
    /// nobody listens. The descriptor lives beyond the call. [any | running | repeatable]
    virtual Fd forward(Context& ctx, const Instance& instance, int port) = 0;
};

struct PauseFacet {
    static constexpr const char* facet = "pause";
    virtual ~PauseFacet() = default;
    /// [instance, mutating | running → paused | repeatable]
    virtual InstanceFacts pause(Context& ctx, const Instance& instance) = 0;
    /// [instance, mutating | paused → running | repeatable]
    virtual InstanceFacts resume(Context& ctx, const Instance& instance) = 0;
};

struct ResizeFacet {
    static constexpr const char* facet = "resize";
    virtual ~ResizeFacet() = default;
    /// Applies what the spec names, all of it or nothing, now or at the next start if it is stopped. Throws
    /// invalid for what cannot be changed, naming the field. [instance, mutating | stopped, running → same |
    /// repeatable]
    virtual InstanceFacts resize(Context& ctx, const Instance& instance, const ResizeSpec& spec) = 0;
};

struct StatsFacet {
    static constexpr const char* facet = "stats";
    virtual ~StatsFacet() = default;
    /// [any | running | repeatable]
    virtual Stats stats(Context& ctx, const Instance& instance) = 0;
};

struct SnapshotFacet {
    static constexpr const char* facet = "snapshot";
    virtual ~SnapshotFacet() = default;
    /// Complete or absent, also after a crash. Throws conflict for a name that is taken.
    /// [instance, mutating | running, paused, stopped → same | not repeatable]
    virtual SnapshotInfo create_snapshot(Context& ctx, const Instance& instance,
                                         const SnapshotSpec& spec) = 0;
    /// [any | created | repeatable]
    virtual std::vector<SnapshotInfo> list_snapshots(Context& ctx, const Instance& instance) = 0;
    /// Puts the instance back: running if the snapshot has memory, else stopped. If it fails before the old
    /// life was given up, that life goes on. [instance, mutating | any → running or stopped | repeatable]
    virtual InstanceFacts restore_snapshot(Context& ctx, const Instance& instance,
                                           const std::string& name) = 0;
    /// [instance, mutating | created → same | repeatable]
    virtual void delete_snapshot(Context& ctx, const Instance& instance, const std::string& name) = 0;
};

struct CopyFacet {
    static constexpr const char* facet = "copy";
    virtual ~CopyFacet() = default;
    /// As Runtime::create() for `instance`, but with the disk of `source` as it is now instead of an image's:
    /// a running source keeps running, and its file systems are consistent in the copy. Core has given
    /// `instance` the spec of the source, and keeps other changes of the source away meanwhile. [instance;
    /// source, mutating | absent → stopped; running, paused, stopped → same | not repeatable]
    virtual RuntimeState copy(Context& ctx, const Instance& instance, const Instance& source) = 0;
};

struct BuildFacet {
    static constexpr const char* facet = "build";
    virtual ~BuildFacet() = default;
    /// Builds an image from a tar stream and writes the build's log to `log` as it comes. The image is
    /// journalled (kind "image", key the tag) before it exists. Throws failed with the last lines of the log
    /// when a step of the build fails, too_large for an image beyond `spec.max_bytes`. Cancelled or past its
    /// deadline, nothing of the build is left. [any | absent → image | not repeatable]
    virtual BuildResult build(Context& ctx, const BuildSpec& spec, Fd context, Fd log) = 0;
    /// Removes an image that build() made, by tag or id; one in use stays, and throws conflict. An absent one
    /// is success. [any | image → absent | repeatable]
    virtual void remove_image(Context& ctx, const std::string& image) = 0;
};

}  // namespace minions
