#pragma once

#include <minions/base/fd.hpp>
#include <minions/types.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions {

enum class LogLevel { debug, info, warning, error };
template <>
struct EnumWords<LogLevel> {
    static constexpr std::string_view words[] = {"debug", "info", "warning", "error"};
};

/// What core offers a plugin for its whole life. All methods: [any thread, any time after construction].
class Host {
  public:
    virtual ~Host() = default;

    /// One line; secrets do not belong in it. What cannot be delivered any more is lost.
    virtual void log(LogLevel level, std::string_view message) noexcept = 0;

    /// Tells core that an instance changed by itself. Returns once core has committed or dropped it (an event
    /// of an older boot, or of an instance that is gone, is dropped). Never throws: an event that cannot be
    /// delivered is logged, and the next inspect() tells the truth.
    virtual void report(const InstanceEvent& event) noexcept = 0;

    /// Tells core to ask health() again: the engine came or went.
    virtual void health_changed() noexcept = 0;

    /// Identifies this installation; every outside object carries it, and what carries another is not ours.
    virtual const std::string& installation() const = 0;
    virtual const Directories& directories() const = 0;
};

/// A journal row that has been intended and not yet confirmed. held() says that the object exists now;
/// without it the row stays an intent, and undo treats it just the same.
class JournalEntry {
  public:
    virtual ~JournalEntry() = default;
    virtual void held() = 0;
};

/// The list of everything outside the database: written before the effect, walked by every undo.
class Journal {
  public:
    virtual ~Journal() = default;

    /// Commits a row for an object of the runtime's own `kind`, about to be made, that release() can find by
    /// `key`. The next line makes the object. Throws no_space, unavailable.
    virtual std::unique_ptr<JournalEntry> intend(std::string_view kind, std::string_view key) = 0;

    /// Removes the rows of that kind and key: the object is gone. Removing what is not there is no error.
    virtual void gone(std::string_view kind, std::string_view key) = 0;
};

/// What connects an instance to the network. The TAP exists, is up, belongs to the instance's user
/// (ProcessHome) and is on the bridge.
struct NetworkAttachment {
    std::string
        device;  ///< TAP name; empty where the daemon lacks the rights and the VMM uses user networking
    std::string mac;
    std::string address;  ///< with prefix length: "10.0.0.2/16"
    std::string gateway;
    std::vector<std::string> dns;
    int mtu = 1500;
    /// Always the instance's own; whether the host's kernel has vsock (/dev/vhost-vsock) is another question.
    std::optional<std::int64_t> vsock_cid;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("device", self.device);
        visit("mac", self.mac);
        visit("address", self.address);
        visit("gateway", self.gateway);
        visit("dns", self.dns);
        visit("mtu", self.mtu);
        visit("vsock_cid", self.vsock_cid);
    }
};

/// Host networking for VMs; containers use their engine's. Core journals and undoes what it makes here.
class Network {
  public:
    virtual ~Network() = default;
    /// Gives the call's instance its address and CID (the same ones every time) and a fresh TAP.
    virtual NetworkAttachment attach() = 0;
    /// Removes the TAP; the address stays the instance's until it is destroyed. Repeatable.
    virtual void detach() = 0;
};

/// What the processes of an instance run as, and where they leave their files.
struct ProcessHome {
    std::int64_t uid =
        0;  ///< the instance's own user and group; the daemon's where it cannot change to others
    std::int64_t gid = 0;
    /// The instance's own directory, which survives a reboot and goes with the instance. It belongs to the
    /// daemon; `gid` may pass through it, so a file in it that a process opens must belong to `uid` or `gid`.
    /// The runtime keeps disks and the like here, under names of its own. A process's standard output and
    /// error arrive here in `<role>.out` and `<role>.err`; a file that has reached its bound is renamed to
    /// `<role>.out.1` (`<role>.err.1`), replacing the one before, and a new one is begun. A new process of
    /// the role goes on where the last one ended.
    std::string directory;
    /// As `directory`, below the daemon's run directory: short enough for sockets in a subdirectory whose
    /// name has at most 8 characters, and gone after a reboot.
    std::string run_directory;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("uid", self.uid, Field{.required = true});
        visit("gid", self.gid, Field{.required = true});
        visit("directory", self.directory, Field{.required = true});
        visit("run_directory", self.run_directory, Field{.required = true});
    }
};

/// A process to keep running beyond this call, and beyond the daemon. It runs as the instance's user, with
/// nothing on its standard input.
struct ProcessSpec {
    std::string role;               ///< "vmm": [a-z]{1,16}
    std::vector<std::string> argv;  ///< absolute program path first
    std::map<std::string, std::string> env;
    std::vector<std::string> devices;  ///< files whose groups it joins, because it opens them: "/dev/kvm"
    std::optional<std::int64_t> memory_limit_mb;  ///< for hosts with cgroup v2; not enforced so far

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("role", self.role, Field{.required = true});
        visit("argv", self.argv, Field{.required = true});
        visit("env", self.env);
        visit("devices", self.devices);
        visit("memory_limit_mb", self.memory_limit_mb);
    }
};

struct ProcessInfo {
    std::int64_t pid = 0;
    std::uint64_t start_time = 0;  ///< of /proc/<pid>/stat; a pid alone identifies nothing

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("pid", self.pid);
        visit("start_time", self.start_time);
    }
};

/// A supervised process, and the way to learn of its end.
struct SupervisedProcess {
    ProcessInfo info;
    /// The receiving end of a SOCK_SEQPACKET pair that brings one ProcessEnd document when the process has
    /// ended, at once where it has already, and then its end. Only the end: the daemon is going away, and the
    /// process lives on. Lives beyond the call: a runtime watches it from a thread of its own.
    Fd end;
};

/// How a supervised process ended; at most one is set, and none where nobody could see it.
struct ProcessEnd {
    std::optional<int> exit_code;
    std::optional<int> signal;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("exit_code", self.exit_code);
        visit("signal", self.signal);
    }
};

/// Supervised processes of the call's instance, for VM runtimes: each under a shim, watched by pidfd,
/// outliving the daemon. Core journals and undoes them; what an end means for the instance the runtime
/// reports.
class Processes {
  public:
    virtual ~Processes() = default;
    /// The same for every call about the instance; the directory exists from the first call on.
    virtual ProcessHome home() = 0;
    /// Descriptors in `pass` arrive in the process as 3, 4, …. Throws conflict while one of that role lives.
    virtual SupervisedProcess start(const ProcessSpec& spec, std::vector<Fd> pass) = 0;
    /// The last process of that role, which an earlier daemon may have started: how recover() and inspect()
    /// learn whether it lives. nullopt: none was started, or it was killed here.
    virtual std::optional<SupervisedProcess> find(std::string_view role) = 0;
    /// Ends the process of that role at once and waits until it is gone. Repeatable.
    virtual void kill(std::string_view role) = 0;
};

/// An image of core's store, for VM runtimes. Its files are read-only and stay as they are for as long as an
/// instance holds the image.
struct VmImage {
    std::string id;    ///< of its contents: "sha256:…"
    std::string disk;  ///< path of the root file system, or of a whole disk: always raw
    std::int64_t disk_bytes = 0;
    std::string kernel;        ///< path
    std::string initramfs;     ///< path; empty for none
    std::string command_line;  ///< of the kernel, without console; names the root device

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("id", self.id, Field{.required = true});
        visit("disk", self.disk, Field{.required = true});
        visit("disk_bytes", self.disk_bytes);
        visit("kernel", self.kernel);
        visit("initramfs", self.initramfs);
        visit("command_line", self.command_line);
    }
};

class Images {
  public:
    virtual ~Images() = default;
    /// The image that `name` stands for now (a tag or an id), which the call's instance holds from here on
    /// until it is destroyed. Throws not_found, failed (its files are not what they were).
    virtual VmImage acquire(const std::string& name) = 0;
};

/// One call into a runtime. Used by the thread that serves the call and by threads that end before it
/// returns.
class Context {
  public:
    virtual ~Context() = default;

    /// When the call must have ended.
    virtual SteadyTime deadline() const = 0;
    /// Somebody wants the call to end now.
    virtual bool cancelled() const noexcept = 0;
    /// Becomes readable when cancelled; to be polled beside other descriptors. Not to be read or closed.
    virtual int cancel_fd() const noexcept = 0;
    /// Throws Error{cancelled} or Error{deadline} if the call should not go on.
    void check() const;

    /// As Host::log, with what the call is about.
    virtual void log(LogLevel level, std::string_view message) noexcept = 0;
    /// Recorded with the operation and shown to who waits; returns at once.
    virtual void progress(const Progress& progress) = 0;
    /// Commits the runtime's state of this instance, before the side effect that it describes.
    virtual void save_state(const RuntimeState& state) = 0;

    virtual Journal& journal() = 0;
    // Each throws unavailable, here or when it is used, where the daemon offers no such service.
    virtual Network& network() = 0;
    virtual Processes& processes() = 0;
    virtual Images& images() = 0;
};

}  // namespace minions
