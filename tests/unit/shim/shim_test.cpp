#include "shim/options.hpp"
#include "shim/records.hpp"
#include "tests/unit/core/store/temporary_directory.hpp"

#include <minions/base/files.hpp>
#include <minions/base/spawn.hpp>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

using namespace minions;
using namespace std::chrono_literals;
using core::TemporaryDirectory;

namespace {

bool ends(const Fd& process) {
    pollfd entry{process.get(), POLLIN, 0};
    return !process || poll_until(&entry, 1, deadline_in(20s)) > 0;
}

/// One run of the shim, in a directory of its own.
struct Run {
    explicit Run(std::string script = "") {
        if (!script.empty()) argv = {"/bin/sh", "-c", std::move(script)};
    }
    ~Run() {
        // Whatever a test has left: by pid and start time.
        if (report.kind != shim::Report::Kind::running) return;
        if (process_start_time(report.process.pid) == report.process.start_time)
            ::kill(report.process.pid, SIGKILL);
    }

    /// Starts it and hears the report.
    shim::Report& start(std::vector<std::string> options = {}, std::vector<Fd> pass = {}) {
        FdPair pair = make_socketpair(SOCK_SEQPACKET);
        SpawnOptions wanted;
        wanted.argv = {MINIONS_SHIM, "--directory=" + directory.path().string(), "--role=vmm",
                       "--descriptors=" + std::to_string(pass.size())};
        wanted.argv.insert(wanted.argv.end(), options.begin(), options.end());
        wanted.argv.emplace_back("--");
        wanted.argv.insert(wanted.argv.end(), argv.begin(), argv.end());
        wanted.env = environment;
        wanted.fds.emplace_back(shim::starter_fd, std::move(pair.second));
        int number = shim::first_passed_fd;
        for (Fd& each : pass) wanted.fds.emplace_back(number++, std::move(each));
        auto launcher = spawn(std::move(wanted));
        REQUIRE(launcher.wait(deadline_in(20s)));
        starter = std::move(pair.first);
        std::string text(shim::most_record_bytes, '\0');
        const ssize_t got = ::recv(starter.get(), text.data(), text.size(), 0);
        REQUIRE(got > 0);
        const auto said = shim::report({text.data(), static_cast<std::size_t>(got)});
        REQUIRE(said);
        report = *said;
        if (report.kind == shim::Report::Kind::running) {
            process = open_pidfd(report.process.pid);
            shim_process = open_pidfd(report.process.shim_pid);
        }
        return report;
    }
    void keep() {
        // One whose process is short is gone by now, and needs no answer.
        ::send(starter.get(), "k", 1, MSG_NOSIGNAL);
        starter.reset();
    }
    Run& start_and_keep(std::vector<std::string> options = {}, std::vector<Fd> pass = {}) {
        REQUIRE(start(std::move(options), std::move(pass)).kind == shim::Report::Kind::running);
        keep();
        return *this;
    }
    ExitStatus wait() {
        REQUIRE(ends(shim_process));
        const auto record = shim::exit_record(file("vmm.exit"));
        REQUIRE(record);
        CHECK(record->pid == report.process.pid);
        CHECK(record->start_time == report.process.start_time);
        return record->status;
    }

    std::filesystem::path path(const std::string& name) const { return directory.path() / name; }
    std::string file(const std::string& name) const { return read_file(path(name).string(), 1U << 24U); }
    bool has(const std::string& name) const { return std::filesystem::exists(path(name)); }
    bool empty() const { return std::filesystem::is_empty(directory.path()); }
    bool locked() const {
        const Fd lock(::open(path("vmm.lock").c_str(), O_RDONLY | O_CLOEXEC));
        return lock && ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0;
    }

    TemporaryDirectory directory;
    std::vector<std::string> argv;
    std::vector<std::string> environment{"PATH=/usr/bin:/bin", "GIVEN=yes"};
    Fd starter;
    Fd process;
    Fd shim_process;
    shim::Report report;
};

}  // namespace

TEST_CASE("a process under a shim leaves its output and how it ended") {
    Run run("echo out; echo err >&2; echo $GIVEN $(pwd) $(umask); cat; exit 3");
    run.start_and_keep();
    CHECK(run.wait().code == 3);
    CHECK(run.file("vmm.out") == "out\nyes / 0077\n");
    CHECK(run.file("vmm.err") == "err\n");
    struct stat status {};
    REQUIRE(::stat(run.path("vmm.out").c_str(), &status) == 0);
    CHECK((status.st_mode & 07777U) == 0640U);
    CHECK_FALSE(run.locked());
    CHECK(shim::process_record(run.file("vmm.process")) == run.report.process);
    CHECK(run.report.process.boot == shim::boot_id());
}

TEST_CASE("the signal that ended a process is recorded") {
    Run run("kill -SEGV $$");
    run.start_and_keep();
    const ExitStatus end = run.wait();
    CHECK(end.signal == SIGSEGV);
    CHECK(end.code == -1);
}

TEST_CASE("outputs are bounded, and the next process goes on with them") {
    Run run("i=0; while [ $i -lt 1000 ]; do printf 'line%06d' $i; i=$((i+1)); done");
    run.start_and_keep({"--output-bytes=4096"});
    CHECK(run.wait().code == 0);
    CHECK(run.file("vmm.out.1").size() == 4096);
    CHECK(run.file("vmm.out").size() == 10000 - 2 * 4096);
    const std::string kept = run.file("vmm.out.1") + run.file("vmm.out");
    CHECK(kept.ends_with("line000998line000999"));
    CHECK(kept.substr(4, 10) == "line000410");

    const std::string before = run.file("vmm.out");
    run.argv = {"/bin/echo", "next"};
    run.start_and_keep({"--output-bytes=4096"});
    CHECK(run.wait().code == 0);
    CHECK(run.file("vmm.out") == before + "next\n");
}

TEST_CASE("a process goes on where its output cannot be written") {
    Run run("head -c 3000000 /dev/zero; echo done >&2");
    std::filesystem::create_directory(run.path("vmm.out"));
    std::filesystem::create_symlink("/etc/passwd", run.path("vmm.err"));
    const std::string before = read_file("/etc/passwd", 1U << 20U);
    run.start_and_keep();
    CHECK(run.wait().code == 0);
    CHECK(read_file("/etc/passwd", 1U << 20U) == before);
}

TEST_CASE("descriptors arrive from 3 on, and nothing else but the lock") {
    FdPair one = make_pipe();
    FdPair two = make_pipe();
    Run run("echo one >&3; echo two >&4; exec ls /proc/self/fd");
    std::vector<Fd> pass;
    pass.push_back(std::move(one.second));
    pass.push_back(std::move(two.second));
    run.start_and_keep({}, std::move(pass));
    CHECK(run.wait().code == 0);
    CHECK(read_file(one.first.get(), 100) == "one\n");
    CHECK(read_file(two.first.get(), 100) == "two\n");
    CHECK(run.file("vmm.out") == "0\n1\n2\n3\n4\n5\n6\n");  // 5 is the lock, 6 is that of ls
}

TEST_CASE("a process runs as its user, without a way back") {
    if (::geteuid() != 0) return;
    Run run("id -u; id -g; id -G; grep NoNewPrivs /proc/self/status");
    run.start_and_keep({"--identity=1900000007:1900000000:4242,4243"});
    CHECK(run.wait().code == 0);
    CHECK(run.file("vmm.out") == "1900000007\n1900000000\n1900000000 4242 4243\nNoNewPrivs:\t1\n");
}

TEST_CASE("what cannot be started is reported and leaves nothing") {
    Run run;
    run.argv = {"/nonexistent/program"};
    const auto& report = run.start();
    CHECK(report.kind == shim::Report::Kind::failed);
    CHECK(report.error == ENOENT);
    CHECK(report.message == "cannot execute /nonexistent/program: No such file or directory");
    char byte = 0;
    CHECK(::recv(run.starter.get(), &byte, 1, 0) == 0);  // the shim is gone
    CHECK(run.empty());

    Run nowhere("true");
    std::filesystem::remove(nowhere.directory.path());
    CHECK(nowhere.start().kind == shim::Report::Kind::failed);
}

TEST_CASE("two processes of one role never live side by side") {
    Run run("exec sleep 1000");
    run.start_and_keep();
    const shim::Report first = run.report;
    const std::string record = run.file("vmm.process");
    const Fd first_shim = std::move(run.shim_process);
    CHECK(run.start().kind == shim::Report::Kind::conflict);
    CHECK(run.file("vmm.process") == record);
    CHECK(process_start_time(first.process.pid) == first.process.start_time);
    run.report = first;
    REQUIRE(::kill(first.process.pid, SIGKILL) == 0);
    CHECK(ends(first_shim));
}

TEST_CASE("a process without a starter that wants it is ended and leaves nothing") {
    Run run("exec sleep 1000");
    REQUIRE(run.start().kind == shim::Report::Kind::running);
    CHECK(run.has("vmm.process"));
    run.starter.reset();
    CHECK(ends(run.process));
    CHECK(ends(run.shim_process));
    CHECK(run.empty());
}

TEST_CASE("what ends a daemon and its session does not end a shim") {
    Run run("trap '' TERM; echo ready; exec sleep 1000");
    run.start_and_keep();
    const pid_t shim = run.report.process.shim_pid;
    CHECK(::getsid(shim) == shim);
    CHECK(::getsid(run.report.process.pid) == run.report.process.pid);
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM}) REQUIRE(::kill(shim, signal) == 0);
    // It still does its work after them.
    REQUIRE(::kill(run.report.process.pid, SIGKILL) == 0);
    CHECK(run.wait().signal == SIGKILL);
}

TEST_CASE("the lock is held for as long as the process lives, with its shim or without") {
    Run run("exec sleep 1000");
    run.start_and_keep();
    CHECK(run.locked());
    REQUIRE(::kill(run.report.process.shim_pid, SIGKILL) == 0);
    REQUIRE(ends(run.shim_process));
    CHECK(process_start_time(run.report.process.pid) == run.report.process.start_time);
    CHECK(run.locked());
    REQUIRE(::kill(run.report.process.pid, SIGKILL) == 0);
    REQUIRE(ends(run.process));
    CHECK_FALSE(run.locked());
    CHECK_FALSE(run.has("vmm.exit"));
}

TEST_CASE("with the shim everything that held the lock is gone") {
    // Many of its children are about to begin or to end.
    Run run("while :; do (setsid true) & true; done");
    for (int round = 0; round < 20; ++round) {
        run.start_and_keep();
        REQUIRE(::kill(run.report.process.pid, SIGKILL) == 0);
        REQUIRE(run.wait().signal == SIGKILL);
        CHECK_FALSE(run.locked());
    }
}

TEST_CASE("what a process leaves behind ends with it") {
    // Out of its group and session, holding its output; a fifo says when.
    Run run("mkfifo $GO; setsid sh -c 'echo $$; echo > $GO; exec sleep 1000' & read line < $GO; exit 5");
    run.environment.push_back("GO=" + run.path("go").string());
    run.start_and_keep();
    CHECK(run.wait().code == 5);
    const pid_t left = std::stoi(run.file("vmm.out"));
    CHECK(ends(open_pidfd(left)));
}
