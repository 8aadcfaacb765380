#include "shim/supervise.hpp"

#include "shim/output_file.hpp"
#include "shim/records.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/base/files.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <charconv>
#include <system_error>

extern char** environ;

namespace minions::shim {
namespace {

/// How long the outputs are read on once the process is gone: whoever still holds them by then is not ours.
constexpr std::chrono::milliseconds drain_time{500};
/// A burst of output must not make the process wait for our turn.
constexpr int pipe_bytes = 1 << 18;

[[noreturn]] void fail(int error, const std::string& what) {
    throw std::system_error(error, std::generic_category(), what);
}

/// Locks the file and leaves it in place; nothing if somebody holds it. For reading: the process inherits the
/// descriptor and has no business with the file.
Fd take_lock(const std::string& path) {
    for (;;) {
        Fd lock(::open(path.c_str(), O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (!lock) fail(errno, "cannot open " + path);
        if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK) return {};
            fail(errno, "cannot lock " + path);
        }
        // Whoever ended the last process removed its lock: what we hold may be a file without a name.
        struct stat held {};
        struct stat named {};
        if (::fstat(lock.get(), &held) == 0 && ::stat(path.c_str(), &named) == 0 &&
            held.st_ino == named.st_ino && held.st_dev == named.st_dev)
            return lock;
    }
}

Fd watch_children() {
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &child, nullptr);
    Fd fd(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd) fail(errno, "cannot watch for children");
    return fd;
}

struct Pipe {
    Fd fd;
    OutputFile file;
};

class Supervisor {
  public:
    Supervisor(const Options& options, Fd starter)
        : options_(options),
          starter_(std::move(starter)),
          base_(options.directory + "/" + options.role),
          outputs_{Pipe{{}, {base_ + ".out", options.output_bytes}},
                   Pipe{{}, {base_ + ".err", options.output_bytes}}} {}

    /// Whether there is a process now; the starter knows.
    bool start() {
        try {
            lock_ = take_lock(base_ + ".lock");
            if (!lock_) {
                tell({Report::Kind::conflict, {}, 0, {}});
                return false;
            }
            ::unlink((base_ + ".exit").c_str());
            children_ = watch_children();
            process_ = spawn(spawn_options());
            MINIONS_FAILPOINT("shim.record.before");
            record();
            if (!tell({Report::Kind::running, record_, 0, {}})) fail(EPIPE, "the starter is gone");
            return true;
        } catch (const std::system_error& error) {
            undo();
            tell({Report::Kind::failed, {}, error.code().value(), error.what()});
            return false;
        }
    }

    void follow() {
        for (;;) {
            pollfd entries[] = {{process_.pidfd(), POLLIN, 0},
                                {outputs_[0].fd.get(), POLLIN, 0},
                                {outputs_[1].fd.get(), POLLIN, 0},
                                {children_.get(), POLLIN, 0},
                                {starter_.get(), POLLIN, 0}};
            poll_until(entries, 5, no_deadline);
            if (entries[1].revents != 0) pump(outputs_[0]);
            if (entries[2].revents != 0) pump(outputs_[1]);
            if (entries[3].revents != 0) reap_adopted();
            if (entries[4].revents != 0 && !hear_starter()) return undo();
            if (entries[0].revents != 0) return finish();
        }
    }

  private:
    SpawnOptions spawn_options() {
        SpawnOptions wanted;
        wanted.argv = options_.argv;
        for (char** each = environ; *each != nullptr; ++each) wanted.env.emplace_back(*each);
        wanted.cwd = "/";
        wanted.out = Stdio(open_pipe(outputs_[0]));
        wanted.err = Stdio(open_pipe(outputs_[1]));
        for (int i = 0; i < options_.descriptors; ++i)
            wanted.fds.emplace_back(3 + i, Fd(first_passed_fd + i));
        // Last, for as long as the process lives: without us it still guards the instance's files.
        wanted.fds.emplace_back(3 + options_.descriptors, duplicate(lock_.get()));
        wanted.identity = options_.identity;
        wanted.umask = 077;
        // What a guest remembers does not end up in a core dump.
        wanted.limits.push_back({RLIMIT_CORE, {0, 0}});
        return wanted;
    }

    static Fd open_pipe(Pipe& output) {
        FdPair pipe = make_pipe();
        make_nonblocking(pipe.first.get());
        ::fcntl(pipe.first.get(), F_SETPIPE_SZ, pipe_bytes);  // less will do
        output.fd = std::move(pipe.first);
        return std::move(pipe.second);
    }

    void record() {
        record_.pid = process_.pid();
        record_.start_time = process_start_time(process_.pid()).value_or(0);
        record_.shim_pid = ::getpid();
        record_.shim_start_time = process_start_time(::getpid()).value_or(0);
        record_.boot = boot_id();
        replace_file(base_ + ".process", text_of(record_), 0600);
    }

    bool tell(const Report& report) const {
        const std::string text = text_of(report);
        return ::send(starter_.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
               static_cast<ssize_t>(text.size());
    }

    /// False if the starter went away without a word.
    bool hear_starter() {
        char byte = 0;
        const ssize_t got = ::recv(starter_.get(), &byte, 1, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
        if (got <= 0) return false;
        starter_.reset();
        return true;
    }

    static bool pump(Pipe& output) {
        if (!output.fd) return false;
        char buffer[65536];
        const ssize_t got = ::read(output.fd.get(), buffer, sizeof buffer);
        if (got > 0) {
            output.file.write({buffer, static_cast<std::size_t>(got)});
            return true;
        }
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) return errno == EINTR;
        output.fd.reset();
        return false;
    }

    /// What the process's children leave behind comes to us (PR_SET_CHILD_SUBREAPER).
    void reap_adopted() {
        signalfd_siginfo ignored{};
        while (::read(children_.get(), &ignored, sizeof ignored) > 0) {
        }
        for (;;) {
            siginfo_t info{};
            if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
            if (info.si_pid == process_.pid()) return;  // its own pidfd says so
            ::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG);
        }
    }

    /// What it takes until everything that the process has left is gone.
    enum class Left { nothing, gone_now, ending };

    /// Ends what the process has left. Ours and not reaped: their numbers are certainly theirs.
    Left end_adopted() const {
        std::string list;
        try {
            const std::string self = std::to_string(::getpid());
            list = read_file("/proc/self/task/" + self + "/children", 1U << 20U);
        } catch (const std::system_error&) {
            return Left::nothing;  // a kernel without that list: they stay, and only their output is lost
        }
        Left left = Left::nothing;
        const char* end = list.data() + list.size();
        for (const char* at = list.data(); at < end; ++at) {
            pid_t pid = 0;
            at = std::from_chars(at, end, pid).ptr;
            if (pid <= 0 || pid == process_.pid()) continue;
            ::kill(pid, SIGKILL);
            siginfo_t info{};
            const bool reaped =
                ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG) == 0 && info.si_pid == pid;
            left = std::max(left, reaped ? Left::gone_now : Left::ending);
        }
        return left;
    }

    /// Ends and reaps what is left, and reads the outputs to their end.
    void drain() {
        const Deadline until = deadline_in(drain_time);
        while (std::chrono::steady_clock::now() < until) {
            const Left left = end_adopted();
            for (Pipe& output : outputs_) {
                while (std::chrono::steady_clock::now() < until && pump(output)) {
                }
            }
            if (left == Left::gone_now) continue;  // theirs have come to us
            if (left == Left::nothing && !outputs_[0].fd && !outputs_[1].fd) return;
            pollfd entries[] = {{outputs_[0].fd.get(), POLLIN, 0},
                                {outputs_[1].fd.get(), POLLIN, 0},
                                {children_.get(), POLLIN, 0}};
            if (poll_until(entries, 3, until) == 0) return;
            if (entries[2].revents != 0) reap_adopted();
        }
    }

    void finish() {
        process_.kill_group(SIGKILL);
        drain();
        const ExitRecord end{record_.pid, record_.start_time, *process_.wait()};
        try {
            replace_file(base_ + ".exit", text_of(end), 0600);
        } catch (const std::system_error&) {
            // Nobody will know how it ended; that it did shows by itself.
        }
    }

    void undo() {
        if (process_) {
            process_.kill_group(SIGKILL);
            process_.kill(SIGKILL);
            process_.wait();
            drain();
        }
        if (!lock_) return;
        ::unlink((base_ + ".process").c_str());
        ::unlink((base_ + ".lock").c_str());
    }

    const Options& options_;
    Fd starter_;
    const std::string base_;
    Pipe outputs_[2];
    Fd lock_;
    Fd children_;
    Process process_;
    ProcessRecord record_;
};

}  // namespace

int supervise(const Options& options, Fd starter) {
    Supervisor supervisor(options, std::move(starter));
    if (!supervisor.start()) return 1;
    supervisor.follow();
    return 0;
}

}  // namespace minions::shim
