#include <minions/base/spawn.hpp>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <system_error>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#ifdef __SANITIZE_THREAD__
// Its clone() takes ours for a fork: it would stop looking at this process, whose memory the child shares.
extern "C" int __clone(int (*)(void*), void*, int, void*, ...);  // NOLINT(bugprone-reserved-identifier)
#define clone __clone
#endif

namespace minions {
namespace {

constexpr std::size_t child_stack_size = 64UL * 1024;

[[noreturn]] void fail(int error, const std::string& what) {
    throw std::system_error(error, std::generic_category(), what);
}

struct Placement {
    int source = -1;
    int target = -1;
};

/// All that the child needs, made before it exists: it shares our memory and may neither allocate nor lock.
struct Plan {
    const char* program = nullptr;
    char* const* argv = nullptr;
    char* const* env = nullptr;
    const char* cwd = nullptr;
    Placement* placements = nullptr;
    std::size_t placement_count = 0;
    int first_free = 3;
    const SpawnOptions* options = nullptr;
    pid_t parent = -1;

    // The answer. Written by the child and read by us after it has run exec or ended (CLONE_VFORK): no pipe
    // is needed.
    const char* volatile failed_step = nullptr;
    volatile int failed_error = 0;
};

/// The steps of the child, in its memory shared with us: raw system calls only. glibc's setuid() and
/// relatives would signal the other threads of the parent, and its wrappers for these write nothing but errno
/// of the waiting thread.
class Child {
  public:
    explicit Child(Plan& plan) : plan_(plan) {}

    [[noreturn]] void run() {
        const SpawnOptions& options = *plan_.options;
        reset_dispositions();
        if (options.new_session) check(::setsid(), "cannot start a session");
        place_descriptors();
        if (options.controlling_terminal) check(::ioctl(0, TIOCSCTTY, 0), "cannot take the terminal");
        for (const ResourceLimit& limit : options.limits) {
            check(::syscall(SYS_prlimit64, 0, limit.resource, &limit.value, nullptr), "cannot set a limit");
        }
        if (options.umask) ::umask(*options.umask);
        if (plan_.cwd != nullptr) check(::chdir(plan_.cwd), "cannot enter the working directory");
        if (options.identity) drop_to(*options.identity);
        if (options.no_new_privs) check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "cannot set no_new_privs");
        if (options.parent_death_signal != 0) follow_parent(options.parent_death_signal);
        sigset_t none;
        ::sigemptyset(&none);
        check(::sigprocmask(SIG_SETMASK, &none, nullptr), "cannot reset the signal mask");
        ::execve(plan_.program, plan_.argv, plan_.env);
        give_up("cannot execute");
    }

  private:
    [[noreturn]] void give_up(const char* step) {
        plan_.failed_error = errno;
        plan_.failed_step = step;
        ::_exit(127);
    }

    void check(long result, const char* step) {
        if (result < 0) give_up(step);
    }

    /// Dispositions are copied, not shared (no CLONE_SIGHAND). All signals are blocked until they are the
    /// defaults, so that no handler of the parent ever runs in here.
    static void reset_dispositions() {
        struct sigaction action {};
        action.sa_handler = SIG_DFL;
        for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &action, nullptr);
    }

    void place_descriptors() {
        // First out of the way of all targets, then to their places: sources and targets may overlap.
        for (std::size_t i = 0; i < plan_.placement_count; ++i) {
            Placement& each = plan_.placements[i];
            const long moved = ::syscall(SYS_fcntl, each.source, F_DUPFD_CLOEXEC, plan_.first_free);
            check(moved, "cannot pass a descriptor");
            each.source = static_cast<int>(moved);
        }
        check(::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC), "cannot close other descriptors");
        for (std::size_t i = 0; i < plan_.placement_count; ++i) {
            const Placement& each = plan_.placements[i];
            check(::syscall(SYS_dup3, each.source, each.target, 0), "cannot pass a descriptor");
        }
    }

    void drop_to(const Identity& identity) {
        check(::syscall(SYS_setgroups, identity.groups.size(), identity.groups.data()),
              "cannot set the groups");
        check(::syscall(SYS_setresgid, identity.gid, identity.gid, identity.gid), "cannot set the group");
        check(::syscall(SYS_setresuid, identity.uid, identity.uid, identity.uid), "cannot set the user");
    }

    void follow_parent(int signal) {
        // After the identity, whose change would clear it.
        check(::prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0), "cannot set the parent-death signal");
        if (::getppid() != plan_.parent) ::_exit(127);
    }

    Plan& plan_;
};

int child_main(void* plan) { Child(*static_cast<Plan*>(plan)).run(); }

std::vector<char*> pointers(const std::vector<std::string>& strings) {
    std::vector<char*> result;
    result.reserve(strings.size() + 1);
    for (const std::string& each : strings) {
        if (each.find('\0') != std::string::npos)
            fail(EINVAL, "an argument or variable of a program holds a NUL");
        result.push_back(const_cast<char*>(each.c_str()));
    }
    result.push_back(nullptr);
    return result;
}

std::string find_program(const SpawnOptions& options) {
    if (options.argv.empty() || options.argv[0].empty()) fail(EINVAL, "no program was named");
    const std::string& name = options.argv[0];
    if (name.find('/') != std::string::npos) return name;
    std::string_view path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (const std::string& each : options.env) {
        if (each.rfind("PATH=", 0) == 0) path = std::string_view(each).substr(5);
    }
    while (!path.empty()) {
        const std::size_t end = std::min(path.find(':'), path.size());
        std::string candidate = std::string(path.substr(0, end)) + "/" + name;
        path.remove_prefix(std::min(end + 1, path.size()));
        struct stat info {};
        const bool there = ::stat(candidate.c_str(), &info) == 0 && S_ISREG(info.st_mode);
        if (candidate[0] == '/' && there && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    }
    fail(ENOENT, "cannot find the program " + name);
}

std::vector<Placement> place(const SpawnOptions& options, Fd& null) {
    std::vector<Placement> result;
    const Stdio* standard[] = {&options.in, &options.out, &options.err};
    for (int number = 0; number < 3; ++number) {
        const Stdio& each = *standard[number];
        int source = number;
        if (each.kind() == Stdio::Kind::given) source = each.fd();
        if (each.kind() == Stdio::Kind::null) {
            if (!null) null.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
            if (!null) fail(errno, "cannot open /dev/null");
            source = null.get();
        }
        result.push_back({source, number});
    }
    for (const auto& [number, fd] : options.fds) {
        const int target = number;
        const bool taken =
            std::any_of(result.begin(), result.end(), [=](auto& p) { return p.target == target; });
        if (target < 3 || taken) fail(EINVAL, "a descriptor's number is below 3 or given twice");
        result.push_back({fd.get(), target});
    }
    return result;
}

/// A stack for the child: sharing our memory, it cannot run on the frames that we return through.
class ChildStack {
  public:
    ChildStack()
        : base_(::mmap(nullptr, child_stack_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0)) {
        if (base_ == MAP_FAILED) fail(errno, "cannot get memory for a child's stack");
    }
    ChildStack(const ChildStack&) = delete;
    ChildStack& operator=(const ChildStack&) = delete;
    ~ChildStack() {
#ifdef __SANITIZE_ADDRESS__
        // The child never returned from its frames: what is mapped here next would seem to be out of bounds.
        ASAN_UNPOISON_MEMORY_REGION(base_, child_stack_size);
#endif
        ::munmap(base_, child_stack_size);
    }
    void* top() const { return static_cast<char*>(base_) + child_stack_size; }

  private:
    void* base_;
};

/// Clones with every signal blocked. Returns the pid, or -1 with errno.
pid_t start(Plan& plan, Fd& pidfd) {
    const ChildStack stack;
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    int descriptor = -1;
    // CLONE_VM|CLONE_VFORK: no page tables are copied, however large we are, and nothing of ours runs in the
    // child but child_main. CLONE_PIDFD: a pidfd that cannot be another's.
    const pid_t pid =
        ::clone(child_main, stack.top(), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &plan, &descriptor);
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pidfd.reset(pid < 0 ? -1 : descriptor);
    errno = error;
    return pid;
}

}  // namespace

Stdio Stdio::inherit() noexcept {
    Stdio result;
    result.kind_ = Kind::inherited;
    return result;
}

Process spawn(SpawnOptions options) {
    const std::string program = find_program(options);
    std::vector<char*> argv = pointers(options.argv);
    std::vector<char*> env = pointers(options.env);
    Fd null;
    std::vector<Placement> placements = place(options, null);

    Plan plan;
    plan.program = program.c_str();
    plan.argv = argv.data();
    plan.env = env.data();
    plan.cwd = options.cwd.empty() ? nullptr : options.cwd.c_str();
    plan.placements = placements.data();
    plan.placement_count = placements.size();
    for (const Placement& each : placements) plan.first_free = std::max(plan.first_free, each.target + 1);
    plan.options = &options;
    plan.parent = ::getpid();

    Fd pidfd;
    const pid_t pid = start(plan, pidfd);
    if (pid < 0) fail(errno, "cannot make a process for " + program);
    Process process(pid, std::move(pidfd), options.new_session);
    if (plan.failed_step != nullptr) {
        process.wait();
        std::string what = std::string(plan.failed_step) + " for " + program;
        if (std::string_view(plan.failed_step) == "cannot execute") what = "cannot execute " + program;
        if (plan.cwd != nullptr && what.find("directory") != std::string::npos)
            what += " (" + options.cwd + ")";
        fail(plan.failed_error, what);
    }
    return process;
}

}  // namespace minions
