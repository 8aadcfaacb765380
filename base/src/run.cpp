#include <minions/base/spawn.hpp>

#include <signal.h>

#include <algorithm>
#include <array>
#include <system_error>

namespace minions {
namespace {

Fd reading_end(Stdio& child_side) {
    FdPair pipe = make_pipe();
    child_side = Stdio(std::move(pipe.second));
    make_nonblocking(pipe.first.get());
    return std::move(pipe.first);
}

/// Both pipes of a running child.
class Collector {
  public:
    Collector(std::array<Fd, 2> pipes, std::size_t limit, const OutputSink& sink)
        : pipes_(std::move(pipes)), left_(limit), sink_(sink) {}

    int fd(int which) const { return pipes_[static_cast<std::size_t>(which)].get(); }

    /// Takes one piece. Returns whether there may be more at once; false at the end of the pipe, which is
    /// then closed, and when it is empty.
    bool take(int which) {
        Fd& pipe = pipes_[static_cast<std::size_t>(which)];
        if (!pipe) return false;
        const ssize_t got = ::read(pipe.get(), buffer_.data(), buffer_.size());
        if (got < 0) {
            if (errno == EINTR) return true;
            if (errno == EAGAIN) return false;
            throw std::system_error(errno, std::generic_category(), "cannot read a program's output");
        }
        if (got == 0) {
            pipe.reset();
            return false;
        }
        const std::size_t fits = std::min(left_, static_cast<std::size_t>(got));
        if (fits > 0) sink_(which == 0 ? Output::out : Output::err, {buffer_.data(), fits});
        left_ -= fits;
        overflow_ = fits < static_cast<std::size_t>(got);
        return !overflow_;
    }

    bool overflow() const { return overflow_; }

  private:
    std::array<Fd, 2> pipes_;
    std::size_t left_;
    const OutputSink& sink_;
    bool overflow_ = false;
    std::array<char, 65536> buffer_{};
};

RunEnd follow(const Process& process, Collector& output, const RunLimits& limits) {
    for (;;) {
        pollfd entries[] = {{process.pidfd(), POLLIN, 0},
                            {limits.cancel_fd, POLLIN, 0},
                            {output.fd(0), POLLIN, 0},
                            {output.fd(1), POLLIN, 0}};
        if (poll_until(entries, 4, limits.deadline) == 0) return RunEnd::deadline;
        if (entries[1].revents != 0) return RunEnd::cancelled;
        for (int which = 0; which < 2; ++which) {
            if (entries[2 + which].revents != 0) output.take(which);
            if (output.overflow()) return RunEnd::too_much_output;
        }
        if (entries[0].revents != 0) return RunEnd::exited;
        // A program that writes without pause keeps poll() ready for ever.
        if (std::chrono::steady_clock::now() >= limits.deadline) return RunEnd::deadline;
    }
}

}  // namespace

RunResult run(SpawnOptions options, const RunLimits& limits, const OutputSink& sink) {
    options.new_session = true;
    std::array<Fd, 2> pipes{reading_end(options.out), reading_end(options.err)};
    Process process = spawn(std::move(options));
    Collector output(std::move(pipes), limits.max_output_bytes, sink);

    RunResult result;
    result.end = follow(process, output, limits);
    // Also after a normal end: whatever it left in its group would hold the pipes open. Before the reaping,
    // while the group's number is certainly its own.
    process.kill_group(SIGKILL);
    result.status = *process.wait();
    if (result.end != RunEnd::exited) return result;
    // What is in the pipes now is all that counts: somebody who left the group may keep them open and go on
    // writing.
    constexpr int most_pieces = 32;
    for (int which = 0; which < 2; ++which) {
        for (int piece = 0; piece < most_pieces && output.take(which); ++piece) {
        }
        if (output.overflow()) {
            result.end = RunEnd::too_much_output;
            break;
        }
    }
    return result;
}

RunResult run(SpawnOptions options, const RunLimits& limits) {
    std::string out;
    std::string err;
    RunResult result = run(std::move(options), limits, [&](Output which, std::string_view piece) {
        (which == Output::out ? out : err).append(piece);
    });
    result.out = std::move(out);
    result.err = std::move(err);
    return result;
}

}  // namespace minions
