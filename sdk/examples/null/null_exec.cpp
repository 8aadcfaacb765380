#include "null_instance.hpp"

#include <minions/base/deadline.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <climits>
#include <cmath>
#include <csignal>
#include <cstdlib>

namespace minions::examples {
namespace {

/// Ends a command early: with a signal that control brought, or because a reader of its output is gone.
struct Ended {
    ExecEnd end;
};

ExecEnd exited(int code) { return {.exit_code = code & 0xff, .signal = std::nullopt}; }

/// One command of exec while it runs.
struct Command {
    Context& ctx;
    const InstanceSpec& instance;
    const ExecSpec& spec;
    ExecStreams streams;
    int rows;
    int columns;

    void print(const Fd& to, std::string_view text) {
        // With a tty there is one terminal.
        const Fd& out = &to == &streams.error && !streams.error ? streams.output : to;
        if (!out) return;
        if (!write_to(ctx, out, text)) throw Ended{{.exit_code = std::nullopt, .signal = SIGPIPE}};
    }

    /// Waits until `until`, a change of the terminal's size, or input if `for_input`. Throws Ended for a
    /// signal. Returns true when there is input.
    bool wait(SteadyTime until, bool for_input) {
        pollfd fds[] = {{ctx.cancel_fd(), POLLIN, 0},
                        {streams.control.get(), POLLIN, 0},
                        {for_input ? streams.input.get() : -1, POLLIN, 0},
                        {streams.output.get(), 0, 0}};
        poll_until(fds, std::size(fds), std::min(until, ctx.deadline()));
        ctx.check();
        if (fds[1].revents != 0) take_control();
        if ((fds[3].revents & (POLLERR | POLLHUP)) != 0)
            throw Ended{{.exit_code = std::nullopt, .signal = SIGPIPE}};
        return fds[2].revents != 0;
    }

    void take_control() {
        char text[4096];
        const ssize_t got = ::recv(streams.control.get(), text, sizeof text, MSG_DONTWAIT);
        if (got <= 0) {
            if (got == 0) streams.control.reset();
            return;
        }
        const auto control =
            decode<ExecControl>(parse_json({text, static_cast<std::size_t>(got)}), Unknown::ignore);
        if (control.rows && control.columns) {
            rows = *control.rows;
            columns = *control.columns;
        }
        if (control.signal) throw Ended{{.exit_code = std::nullopt, .signal = control.signal}};
    }
};

using Run = ExecEnd (*)(Command&);

std::string joined_arguments(const Command& command) {
    std::string line;
    for (const auto& argument : command.spec.args) line += (line.empty() ? "" : " ") + argument;
    return line + "\n";
}

std::string argument(const Command& command, const char* fallback) {
    return command.spec.args.empty() ? fallback : command.spec.args[0];
}

ExecEnd run_cat(Command& command) {
    if (!command.streams.input) return exited(0);
    for (;;) {
        if (!command.wait(SteadyTime::max(), true)) continue;
        const std::string piece = read_from(command.ctx, command.streams.input);
        if (piece.empty()) return exited(0);
        command.print(command.streams.output, piece);
    }
}

ExecEnd run_sleep(Command& command) {
    const double seconds = std::atof(argument(command, "0").c_str());
    const auto until = deadline_in(milliseconds(std::llround(seconds * 1000)));
    while (std::chrono::steady_clock::now() < until) command.wait(until, false);
    return exited(0);
}

ExecEnd run_env(Command& command) {
    auto all = command.instance.environment;
    for (const auto& [name, value] : command.spec.env) all[name] = value;
    for (const auto& [name, value] : all) command.print(command.streams.output, name + "=" + value + "\n");
    return exited(0);
}

ExecEnd run_size(Command& command) {
    int rows = 0;
    int columns = 0;
    for (;;) {
        if (rows != command.rows || columns != command.columns) {
            rows = command.rows;
            columns = command.columns;
            command.print(command.streams.output,
                          std::to_string(rows) + " " + std::to_string(columns) + "\n");
        }
        command.wait(SteadyTime::max(), false);
    }
}

ExecEnd run_yes(Command& command) {
    std::string lines;
    for (int i = 0; i < 1024; ++i) lines += "y\n";
    for (;;) {
        command.print(command.streams.output, lines);
        command.wait(std::chrono::steady_clock::now(), false);
    }
}

struct Known {
    std::string_view name;
    Run run;
};

constexpr Known known[] = {
    {"echo",
     [](Command& c) {
         c.print(c.streams.output, joined_arguments(c));
         return exited(0);
     }},
    {"echo-error",
     [](Command& c) {
         c.print(c.streams.error, joined_arguments(c));
         return exited(0);
     }},
    {"cat", run_cat},
    {"true", [](Command&) { return exited(0); }},
    {"false", [](Command&) { return exited(1); }},
    {"sleep", run_sleep},
    {"exit", [](Command& c) { return exited(std::atoi(argument(c, "0").c_str())); }},
    {"env", run_env},
    {"size", run_size},
    {"yes", run_yes},
    {"die", [](Command&) { return exited(0); }},
};

}  // namespace

bool write_to(Context& ctx, const Fd& out, std::string_view data) {
    while (!data.empty()) {
        pollfd fds[] = {{out.get(), POLLOUT, 0}, {ctx.cancel_fd(), POLLIN, 0}};
        poll_until(fds, std::size(fds), ctx.deadline());
        ctx.check();
        if ((fds[0].revents & POLLERR) != 0) return false;
        // A writable pipe takes this much without blocking.
        const std::size_t size = std::min<std::size_t>(data.size(), PIPE_BUF);
        ssize_t written = ::send(out.get(), data.data(), size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (written < 0 && errno == ENOTSOCK) written = ::write(out.get(), data.data(), size);
        if (written >= 0) {
            data.remove_prefix(static_cast<std::size_t>(written));
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return false;
        } else if (errno != EAGAIN && errno != EINTR) {
            throw error_from_errno(errno, "cannot write output");
        }
    }
    return true;
}

std::string read_from(Context& ctx, const Fd& in) {
    for (;;) {
        pollfd fds[] = {{in.get(), POLLIN, 0}, {ctx.cancel_fd(), POLLIN, 0}};
        poll_until(fds, std::size(fds), ctx.deadline());
        ctx.check();
        if (fds[0].revents == 0) continue;
        std::string piece(65536, '\0');
        const ssize_t got = ::read(in.get(), piece.data(), piece.size());
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got < 0) throw error_from_errno(errno, "cannot read input");
        piece.resize(static_cast<std::size_t>(got));
        return piece;
    }
}

ExecEnd NullRuntime::exec(Context& ctx, const Instance& instance, const ExecSpec& spec, ExecStreams streams) {
    misbehave(ctx, "exec", instance.spec.labels);
    const auto held = find_running(instance.id);
    const InstanceSpec as = *held->spec.lock();
    Command command{ctx, as, spec, std::move(streams), spec.rows, spec.columns};
    try {
        for (const auto& candidate : known) {
            if (candidate.name != spec.command) continue;
            const ExecEnd end = candidate.run(command);
            if (spec.command == "die") end_instance(instance.id, std::atoi(argument(command, "0").c_str()));
            return end;
        }
        command.print(command.streams.error, "null: " + spec.command + ": command not found\n");
        return exited(127);
    } catch (const Ended& ended) {
        return ended.end;
    }
}

}  // namespace minions::examples
