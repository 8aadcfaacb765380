#include <minions/base/event_fd.hpp>
#include <minions/base/spawn.hpp>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fstream>
#include <set>
#include <sstream>
#include <system_error>
#include <thread>

using namespace minions;
using namespace std::chrono_literals;

namespace {

SpawnOptions shell(const std::string& script) {
    SpawnOptions options;
    options.argv = {"/bin/sh", "-c", script};
    options.env = {"PATH=/usr/bin:/bin"};
    return options;
}

std::string output_of(SpawnOptions options) {
    RunLimits limits;
    limits.deadline = deadline_in(30s);
    const RunResult result = run(std::move(options), limits);
    INFO(result.err);
    CHECK(result.success());
    return result.out;
}

std::string failure_of(SpawnOptions options) {
    try {
        spawn(std::move(options));
    } catch (const std::system_error& error) {
        return error.what();
    }
    return "none";
}

std::set<int> open_descriptors() {
    std::set<int> result;
    for (int fd = 0; fd < 1024; ++fd) {
        if (::fcntl(fd, F_GETFD) != -1) result.insert(fd);
    }
    return result;
}

std::string field_of_status(const std::string& text, const std::string& name) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (line.rfind(name + ":", 0) == 0)
            return line.substr(line.find_first_not_of(" \t", name.size() + 1));
    }
    return "absent";
}

bool gone(pid_t pid) { return ::kill(pid, 0) != 0 && errno == ESRCH; }

}  // namespace

TEST_CASE("a child gets exactly the environment and arguments it was given") {
    ::setenv("MINIONS_TEST_SECRET", "leaks", 1);
    SpawnOptions options;
    options.argv = {"/usr/bin/env"};
    options.env = {"A=1", "B=two words"};
    CHECK(output_of(std::move(options)) == "A=1\nB=two words\n");

    SpawnOptions echo;
    echo.argv = {"/bin/echo", "$HOME", "a b", ""};
    CHECK(output_of(std::move(echo)) == "$HOME a b \n");
}

TEST_CASE("a program without a slash is looked up in the child's PATH") {
    SpawnOptions options;
    options.argv = {"echo", "found"};
    CHECK(output_of(std::move(options)) == "found\n");
    SpawnOptions absent;
    absent.argv = {"echo"};
    absent.env = {"PATH=/nonexistent:relative"};
    CHECK_THAT(failure_of(std::move(absent)), Catch::Contains("cannot find the program echo"));
}

TEST_CASE("nothing but the given descriptors is open in a child") {
    const Fd inheritable(::open("/dev/zero", O_RDONLY));  // without O_CLOEXEC
    SpawnOptions options;
    options.argv = {"/bin/ls", "/proc/self/fd"};
    FdPair pipe = make_pipe();
    options.fds.emplace_back(7, std::move(pipe.first));
    CHECK(output_of(std::move(options)) == "0\n1\n2\n3\n7\n");  // 3: the directory that ls reads
}

TEST_CASE("descriptors reach their numbers even where sources and targets overlap") {
    FdPair one = make_pipe();
    FdPair two = make_pipe();
    write_all(one.second.get(), "one", 3);
    write_all(two.second.get(), "two", 3);
    one.second.reset();
    two.second.reset();
    const int first = one.first.get();
    const int second = two.first.get();
    // dash takes one digit in a redirection, so cat opens the numbers itself.
    SpawnOptions options =
        shell("cat /dev/fd/" + std::to_string(second) + " /dev/fd/" + std::to_string(first));
    options.fds.emplace_back(second, std::move(one.first));
    options.fds.emplace_back(first, std::move(two.first));
    CHECK(output_of(std::move(options)) == "onetwo");
}

TEST_CASE("standard input is /dev/null unless given") {
    CHECK(output_of(shell("readlink /proc/self/fd/0")) == "/dev/null\n");
    FdPair pipe = make_pipe();
    write_all(pipe.second.get(), "text", 4);
    pipe.second.reset();
    SpawnOptions options = shell("cat");
    options.in = std::move(pipe.first);
    CHECK(output_of(std::move(options)) == "text");
}

TEST_CASE("signal mask and dispositions of the parent do not reach a child") {
    sigset_t blocked;
    sigset_t before;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGTERM);
    ::sigaddset(&blocked, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
    const auto old = ::signal(SIGHUP, SIG_IGN);
    SpawnOptions options;
    options.argv = {"/bin/cat", "/proc/self/status"};
    const std::string status = output_of(std::move(options));
    ::signal(SIGHUP, old);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    CHECK(field_of_status(status, "SigBlk") == "0000000000000000");
    CHECK(field_of_status(status, "SigIgn") == "0000000000000000");
    CHECK(field_of_status(status, "NoNewPrivs") == "1");
}

TEST_CASE("working directory, umask and limits are set") {
    SpawnOptions options = shell("pwd; umask; ulimit -n");
    options.cwd = "/usr";
    options.umask = 027;
    options.limits.push_back({RLIMIT_NOFILE, {77, 77}});
    CHECK(output_of(std::move(options)) == "/usr\n0027\n77\n");
}

TEST_CASE("a child runs as the identity it was given") {
    if (::getuid() != 0) return;
    SpawnOptions options;
    options.argv = {"/bin/cat", "/proc/self/status"};
    options.identity = Identity{65534, 65533, {12, 34}};
    const std::string status = output_of(std::move(options));
    CHECK(field_of_status(status, "Uid") == "65534\t65534\t65534\t65534");
    CHECK(field_of_status(status, "Gid") == "65533\t65533\t65533\t65533");
    CHECK_THAT(field_of_status(status, "Groups"), Catch::StartsWith("12 34"));
    CHECK(field_of_status(status, "CapEff") == "0000000000000000");
    CHECK(::getuid() == 0);
}

TEST_CASE("a failure before the program runs is thrown, names the step and leaves nothing") {
    const auto before = open_descriptors();
    SpawnOptions options;
    options.argv = {"/nonexistent/program"};
    CHECK_THAT(failure_of(std::move(options)),
               Catch::Contains("cannot execute /nonexistent/program: No such file"));
    options = shell("true");
    options.cwd = "/nonexistent";
    CHECK_THAT(failure_of(std::move(options)),
               Catch::Contains("working directory") && Catch::Contains("/nonexistent"));
    options = SpawnOptions{};
    CHECK_THAT(failure_of(std::move(options)), Catch::Contains("no program was named"));
    options = shell("true");
    options.argv.push_back(std::string("a\0b", 3));
    CHECK_THAT(failure_of(std::move(options)), Catch::Contains("NUL"));
    options = shell("true");
    options.fds.emplace_back(2, Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
    CHECK_THAT(failure_of(std::move(options)), Catch::Contains("below 3"));
    CHECK(open_descriptors() == before);
    CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
    CHECK(errno == ECHILD);
}

TEST_CASE("wait gives the exit code or the signal, again and again") {
    Process process = spawn(shell("exit 3"));
    CHECK(process.wait()->code == 3);
    CHECK(process.wait()->to_string() == "exit status 3");
    CHECK_FALSE(process.kill(SIGTERM));
    CHECK_FALSE(process.kill_group(SIGTERM));

    Process killed = spawn(shell("exec sleep 1000"));
    CHECK_FALSE(killed.wait(deadline_in(1ms)));
    CHECK(killed.kill(SIGKILL));
    CHECK(killed.wait()->signal == SIGKILL);
    CHECK(killed.wait()->to_string() == "killed by signal 9 (Killed)");
}

TEST_CASE("destroying a process ends its whole group and reaps it") {
    FdPair pipe = make_pipe();
    pid_t pid = -1;
    {
        SpawnOptions options = shell("sleep 1000 & echo $!; exec sleep 1000");
        options.out = std::move(pipe.second);
        const Process process = spawn(std::move(options));
        pid = process.pid();
        char text[32];
        REQUIRE(::read(pipe.first.get(), text, sizeof text) > 0);
        CHECK_FALSE(gone(pid));
    }
    char rest[1];
    CHECK(::read(pipe.first.get(), rest, 1) == 0);  // the grandchild's end is closed as well
    CHECK(gone(pid));
}

TEST_CASE("a released process lives on") {
    Process process = spawn(shell("exec sleep 1000"));
    const pid_t pid = process.pid();
    { const Fd pidfd = process.release(); }
    CHECK_FALSE(process);
    CHECK_FALSE(gone(pid));
    ::kill(pid, SIGKILL);
    CHECK(::waitpid(pid, nullptr, 0) == pid);
}

TEST_CASE("the parent-death signal ends a child whose parent is gone") {
    FdPair pipe = make_pipe();
    SpawnOptions options = shell("exec sleep 1000");
    options.out = std::move(pipe.second);
    options.parent_death_signal = SIGKILL;
    Process process;
    std::thread([&] { process = spawn(std::move(options)); }).join();
    CHECK(process.wait(deadline_in(30s))->signal == SIGKILL);
}

TEST_CASE("the start time tells two processes with one pid apart") {
    Process process = spawn(shell("exec sleep 1000"));
    const auto started = process_start_time(process.pid());
    REQUIRE(started);
    CHECK(*started > 0);
    CHECK(process_start_time(process.pid()) == started);
    CHECK(*started >= *process_start_time(::getpid()));
    process.kill(SIGKILL);
    pollfd entry{process.pidfd(), POLLIN, 0};
    REQUIRE(poll_until(&entry, 1, deadline_in(30s)) == 1);
    CHECK_FALSE(process_start_time(process.pid()));  // a zombie is not it any more
    process.wait();
    CHECK_FALSE(process_start_time(process.pid()));
}

TEST_CASE("processes are listed, and opened by their number") {
    Process process = spawn(shell("exec sleep 1000"));
    const auto lists = [](pid_t pid) {
        const auto all = process_ids();
        return std::count(all.begin(), all.end(), pid);
    };
    CHECK(lists(::getpid()) == 1);
    CHECK(lists(process.pid()) == 1);
    const Fd opened = open_pidfd(process.pid());
    REQUIRE(opened);
    pollfd entry{opened.get(), POLLIN, 0};
    CHECK(poll_until(&entry, 1, deadline_in(0s)) == 0);
    process.kill(SIGKILL);
    CHECK(poll_until(&entry, 1, deadline_in(30s)) == 1);
    process.wait();
    CHECK(lists(process.pid()) == 0);
    CHECK_FALSE(open_pidfd(process.pid()));
}

TEST_CASE("many threads spawn at once without leaking descriptors into each other's children") {
    const auto before = open_descriptors();
    std::vector<std::string> results(8);
    std::vector<std::thread> threads;
    for (std::string& result : results) {
        threads.emplace_back([&result] {
            for (int i = 0; i < 10; ++i) {
                SpawnOptions options;
                options.argv = {"/bin/ls", "/proc/self/fd"};
                result = run(std::move(options), {}).out;
                if (result != "0\n1\n2\n3\n") return;
            }
        });
    }
    for (std::thread& each : threads) each.join();
    for (const std::string& result : results) CHECK(result == "0\n1\n2\n3\n");
    CHECK(open_descriptors() == before);
}
