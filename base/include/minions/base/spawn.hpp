#pragma once

#include <minions/base/deadline.hpp>
#include <minions/base/fd.hpp>

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace minions {

/// What a child gets as one of its three standard descriptors.
class Stdio {
  public:
    /// /dev/null.
    Stdio() noexcept = default;
    /// The parent's descriptor of the same number.
    static Stdio inherit() noexcept;
    /// This descriptor; the parent's copy is closed when spawn() returns.
    Stdio(Fd fd) noexcept : kind_(Kind::given), fd_(std::move(fd)) {}  // NOLINT(google-explicit-constructor)

    enum class Kind { null, inherited, given };
    Kind kind() const noexcept { return kind_; }
    int fd() const noexcept { return fd_.get(); }

  private:
    Kind kind_ = Kind::null;
    Fd fd_;
};

/// Whom a child runs as. Needs privileges in the parent.
struct Identity {
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;  ///< all supplementary groups; those of the parent are dropped
};

struct ResourceLimit {
    int resource = 0;  ///< RLIMIT_NOFILE and so on
    rlimit value{};    ///< soft and hard
};

/// Everything a child starts with. Nothing else of the parent reaches it but its root directory, namespaces,
/// cgroup and the limits not named here: signal mask and dispositions are the defaults, no other descriptor
/// stays open.
struct SpawnOptions {
    /// The program and its arguments. Without a slash the program is looked up in the PATH of `env`, or in
    /// the system's usual directories if that has none.
    std::vector<std::string> argv;
    /// "NAME=value" each: the whole environment.
    std::vector<std::string> env;
    /// Entered with the parent's rights, before the identity changes. Empty: the parent's.
    std::string cwd;

    Stdio in;
    Stdio out;
    Stdio err;
    /// Further descriptors by the number that they get in the child (3 and up, each once).
    std::vector<std::pair<int, Fd>> fds;

    std::optional<Identity> identity;
    bool no_new_privs = true;
    /// The child leads a new session and process group, so that the whole group can be killed.
    bool new_session = true;
    /// `in` is a terminal, which becomes that of the new session.
    bool controlling_terminal = false;
    std::vector<ResourceLimit> limits;
    std::optional<mode_t> umask;
    /// Sent to the child when the *thread* that spawned it ends. 0: none.
    int parent_death_signal = 0;
};

/// How a process ended.
struct ExitStatus {
    int code = -1;   ///< the exit code, or -1 if a signal ended it
    int signal = 0;  ///< the signal that ended it, or 0

    bool success() const noexcept { return code == 0; }
    /// "exit status 3" or "killed by signal 9 (Killed)".
    std::string to_string() const;
};

/// A child process. Destroying it kills the child (with its process group, if it leads one) and reaps it, so
/// that nothing stays behind; release() prevents that. Not thread-safe, but kill() and wait() may be called
/// from two threads as long as the object lives.
class Process {
  public:
    Process() noexcept = default;
    Process(pid_t pid, Fd pidfd, bool leads_group) noexcept;
    Process(Process&& other) noexcept;
    Process& operator=(Process&& other) noexcept;
    ~Process();

    explicit operator bool() const noexcept { return pid_ > 0; }
    pid_t pid() const noexcept { return pid_; }
    /// Readable (POLLIN) once the child has ended; owned by this object.
    int pidfd() const noexcept { return pidfd_.get(); }

    /// Waits for the end and reaps. Returns nothing if the deadline comes first. Can be repeated: the status
    /// is kept. Throws std::system_error (ECHILD if somebody else reaped the child).
    std::optional<ExitStatus> wait(Deadline deadline = no_deadline);

    /// Sends a signal through the pidfd, which never hits another process. Returns false if the child was
    /// gone.
    bool kill(int signal);
    /// Sends a signal to the child's process group. Returns false if the child was reaped before (its number
    /// may belong to somebody else by then) or leads no group.
    bool kill_group(int signal);

    /// Gives the child up: it lives on, and the caller (or init) reaps it. Returns its pidfd.
    Fd release() noexcept;

  private:
    void end() noexcept;

    pid_t pid_ = -1;
    Fd pidfd_;
    bool leads_group_ = false;
    std::optional<ExitStatus> status_;
};

/// Starts a child and returns once it runs the program. Throws std::system_error that names the step that
/// failed
/// ("cannot execute /bin/x"); then no child is left. The calling thread waits while the child sets itself up,
/// other threads run on. [any thread]
Process spawn(SpawnOptions options);

/// When a process started, in clock ticks since boot: with the pid it names a process for good. Nothing if
/// there is no such process, or only a zombie of it.
std::optional<std::uint64_t> process_start_time(pid_t pid);

/// The processes of this pid namespace, as /proc lists them now.
std::vector<pid_t> process_ids();

/// A close-on-exec pidfd of a process; empty, with errno, if it cannot be had.
Fd open_pidfd(pid_t pid) noexcept;

/// What run() allows.
struct RunLimits {
    Deadline deadline = no_deadline;
    std::size_t max_output_bytes = 1U << 20U;  ///< of stdout and stderr together
    int cancel_fd = -1;                        ///< stops the run as soon as it is readable
};

/// Why a run was over.
enum class RunEnd { exited, deadline, cancelled, too_much_output };

struct RunResult {
    RunEnd end = RunEnd::exited;
    ExitStatus status;  ///< of the killed process, unless `end` is `exited`
    std::string out;    ///< what was read, complete or not
    std::string err;

    bool success() const noexcept { return end == RunEnd::exited && status.success(); }
};

enum class Output { out, err };
/// Called for each piece as it is read, by the thread that runs.
using OutputSink = std::function<void(Output, std::string_view)>;

/// Runs a program to its end, collecting its output; `out`, `err` and `new_session` of the options are set by
/// run(). The whole process group is killed at the deadline, on cancellation, when there is too much output,
/// when `sink` throws, and when the program ends leaving others in its group. Throws what spawn() throws.
/// [any thread]
RunResult run(SpawnOptions options, const RunLimits& limits);
/// As above, but hands the output to `sink`; `out` and `err` of the result stay empty.
RunResult run(SpawnOptions options, const RunLimits& limits, const OutputSink& sink);

}  // namespace minions
