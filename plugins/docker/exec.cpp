#include "plugins/docker/exec.hpp"

#include "plugins/docker/documents.hpp"
#include "plugins/docker/exec_failure.hpp"
#include "plugins/docker/process_group.hpp"

#include <minions/base/deadline.hpp>

#include <fmt/format.h>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <system_error>

namespace minions::docker {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t buffer_size = std::size_t{64} * 1024;
constexpr std::size_t most_held = 8192;
/// How long a command is quiet before its pid is fetched, so that it can be killed without the engine's help.
/// Longer than a start takes, so that short commands never pay for it.
constexpr milliseconds settled = 500ms;
/// Between attempts to signal or resize what the engine has not started yet.
constexpr milliseconds retry_pause = 10ms;
constexpr int most_attempts = 200;
/// Between questions whether a command whose stream is over has ended.
constexpr milliseconds longest_pause = 200ms;
/// How long an engine may take to say which process is to be killed: at worst it is just starting it.
constexpr milliseconds kill_patience = 3s;

Error not_running(std::string_view message) {
    return {Code::wrong_state, fmt::format("the command cannot be run: {}", message),
            "start or resume the instance first"};
}

bool is_over(const Value& record) {
    return !record["Running"].bool_or(false) && !record["ExitCode"].is_null();
}

}  // namespace

Exec::Exec(Engine& engine, Context& context, std::string container, const ExecSpec& spec, ExecStreams streams)
    : engine_(engine),
      context_(context),
      container_(std::move(container)),
      spec_(spec),
      streams_(std::move(streams)),
      demux_([this](Stream stream, std::string_view bytes) { deliver(stream, bytes); }) {}

ExecEnd Exec::run() {
    const NoSigpipe no_sigpipe;
    make();
    std::optional<Reply> refusal;
    try {
        refusal = start();
        while (!refusal && turn()) {
        }
    } catch (...) {
        kill_command();
        throw;
    }
    if (!refusal) return ended();
    // Engines since 23.0 refuse the start of a command that cannot be executed.
    const std::string message = refusal->message();
    if (classify_exec_failure(message) != ExecFailure::none) return never_ran(message, 126);
    throw failure(*refusal, "the command cannot be run");
}

void Exec::make() {
    const Reply made =
        engine_.call(Patience::of(context_), "POST", fmt::format("/containers/{}/exec", container_),
                     exec_document(spec_, static_cast<bool>(streams_.input)));
    if (!made.ok()) {
        const bool stopped = classify_exec_failure(made.message()) == ExecFailure::stopped;
        if (stopped || made.status == 409) throw not_running(made.message());
        throw failure(made, "the command cannot be run");
    }
    id_ = made.document()["Id"].string_or("");
    if (id_.empty()) throw Error(Code::internal, "the engine answered an exec without an id");
}

/// Returns the engine's refusal, if it is one.
std::optional<Reply> Exec::start() {
    auto answer = engine_.hijack(Patience::of(context_), fmt::format("/exec/{}/start", id_),
                                 Value::object({{"Detach", false}, {"Tty", spec_.tty}}));
    if (auto* refusal = std::get_if<Reply>(&answer)) return std::move(*refusal);
    auto& hijacked = std::get<http::Hijacked>(answer);
    connection_ = std::move(hijacked.fd);
    input_open_ = static_cast<bool>(streams_.input);
    if (spec_.tty) size_ = {spec_.rows, spec_.columns};
    take_output(hijacked.buffered);
    return std::nullopt;
}

/// One wait and what it brought. Returns false when the command is over and all its output is written.
bool Exec::turn() {
    flush();
    if (!killed_ && readers_gone()) kill_command();
    if (ended_ && output_.empty() && over()) return false;

    const bool writing = !output_.empty();
    const int target = writing ? output_.front().fd : -1;
    const auto events_for = [&](const Fd& fd) {
        return static_cast<short>(fd.get() == target ? POLLOUT : 0);
    };
    enum { cancel, engine, in, control, out, error, count };
    std::array<pollfd, count> wait{};
    wait[cancel] = {context_.cancel_fd(), POLLIN, 0};
    wait[engine] = {ended_ ? -1 : connection_.get(),
                    static_cast<short>((writing ? 0 : POLLIN) | (input_.empty() ? 0 : POLLOUT)), 0};
    wait[in] = {input_open_ && input_.empty() ? streams_.input.get() : -1, POLLIN, 0};
    wait[control] = {streams_.control.get(), POLLIN, 0};
    wait[out] = {streams_.output.get(), events_for(streams_.output), 0};
    wait[error] = {streams_.error.get(), events_for(streams_.error), 0};
    if (wait[engine].events == 0) wait[engine].fd = -1;  // its hang-up is seen once there is room to read on

    Deadline until = context_.deadline();
    const bool waiting = !signals_.empty() || size_;
    if (ended_ && !writing) until = std::min(until, deadline_in(pause_));
    if (waiting) {
        until = std::min(until, deadline_in(retry_pause));
    } else if (!pid_ && !ended_) {
        until = std::min(until, deadline_in(settled));
    }
    const int ready = poll_until(wait.data(), wait.size(), until);
    context_.check();
    if (ready == 0 && !waiting && !ended_ && !pid_) {
        record(Patience::of(context_));
        pid_ = pid_.value_or(0);
    }
    if (waiting) apply_pending();
    if (wait[engine].revents != 0 && !input_.empty()) write_input();
    if (wait[engine].revents & (POLLIN | POLLHUP | POLLERR)) read_connection();
    if (wait[in].revents != 0) read_input();
    if (wait[control].revents != 0) read_control();
    return true;
}

void Exec::read_connection() {
    if (!output_.empty()) return;
    std::array<char, buffer_size> buffer;
    const ssize_t got = ::recv(connection_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got > 0) {
        take_output({buffer.data(), static_cast<std::size_t>(got)});
    } else if (got == 0 || errno == ECONNRESET) {
        if (!spec_.tty) demux_.finish();
        ended_ = true;
        connection_.reset();
        stop_input();
    } else if (errno != EAGAIN && errno != EINTR) {
        throw Error(
            Code::unavailable,
            fmt::format("the connection to the engine broke: {}", std::generic_category().message(errno)), {},
            true);
    }
}

void Exec::take_output(std::string_view bytes) {
    if (bytes.empty()) return;
    if (spec_.tty) {
        deliver(Stream::out, bytes);
    } else {
        demux_.feed(bytes);
    }
}

/// Holds first messages back that may say that the command could not be started; all else goes on.
void Exec::deliver(Stream stream, std::string_view bytes) {
    const std::size_t size = bytes.size() + (held_ ? held_->bytes.size() : 0);
    may_hold_ = may_hold_ && size < most_held && looks_like_exec_failure(bytes) &&
                (!held_ || held_->stream == stream);
    if (may_hold_) {
        if (!held_) held_ = Held{stream, {}};
        held_->bytes += bytes;
        return;
    }
    if (const auto held = std::exchange(held_, std::nullopt)) queue(held->stream, held->bytes);
    queue(stream, bytes);
}

void Exec::queue(Stream stream, std::string_view bytes) {
    const int fd = stream == Stream::error ? streams_.error.get() : streams_.output.get();
    if (fd < 0) return;
    output_.push_back({fd, std::string(bytes)});
}

void Exec::flush() {
    while (!output_.empty()) {
        Pending& next = output_.front();
        pollfd state{next.fd, POLLOUT, 0};
        if (::poll(&state, 1, 0) <= 0 || (state.revents & POLLOUT) == 0) return;
        const ssize_t written = write_some(next.fd, next.bytes);
        if (written < 0) {
            // readers_gone() sees it too, but for sockets whose other half still writes.
            kill_command();
            return;
        }
        if (written == 0) return;
        next.bytes.erase(0, static_cast<std::size_t>(written));
        if (next.bytes.empty()) output_.pop_front();
    }
}

void Exec::read_input() {
    std::array<char, buffer_size> buffer;
    const ssize_t got = ::read(streams_.input.get(), buffer.data(), buffer.size());
    if (got > 0) {
        input_.assign(buffer.data(), static_cast<std::size_t>(got));
        write_input();
    } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
        stop_input();
        if (spec_.tty) {
            // A terminal's end of input is a character; a half-closed connection would cut its output off.
            input_ = "\x04";
            write_input();
        } else {
            ::shutdown(connection_.get(), SHUT_WR);
        }
    }
}

void Exec::write_input() {
    const ssize_t sent = ::send(connection_.get(), input_.data(), input_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
        input_.erase(0, static_cast<std::size_t>(sent));
    } else if (errno == EPIPE || errno == ECONNRESET) {
        stop_input();  // the command is over, or reads no more
    }
}

void Exec::stop_input() {
    input_open_ = false;
    input_.clear();
    streams_.input.reset();
}

void Exec::read_control() {
    std::array<char, 4096> buffer;
    const ssize_t got = ::recv(streams_.control.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got == 0) streams_.control.reset();
    if (got < 0 && errno != EAGAIN && errno != EINTR) streams_.control.reset();
    if (got <= 0) return;
    try {
        const auto message = decode<ExecControl>(
            parse_json(std::string_view(buffer.data(), static_cast<std::size_t>(got))), Unknown::ignore);
        if (message.signal) signals_.push_back(*message.signal);
        if (message.rows && message.columns && spec_.tty) size_ = {*message.rows, *message.columns};
        attempts_ = 0;
    } catch (const Error& error) {
        context_.log(LogLevel::warning,
                     fmt::format("a control message of a command is refused: {}", error.what()));
    }
    apply_pending();
}

/// Signals and terminal sizes wait until the engine has started the process: its answer comes before that.
void Exec::apply_pending() {
    if (size_) {
        const Reply reply =
            engine_.call(Patience::of(context_), "POST",
                         fmt::format("/exec/{}/resize?h={}&w={}", id_, size_->first, size_->second));
        if (reply.ok() || ended_) size_.reset();
    }
    if (!signals_.empty()) {
        if (pid_.value_or(0) == 0) record(Patience::of(context_));
        while (!signals_.empty() && pid_.value_or(0) > 0) {
            try {
                if (signal_group(*pid_, container_, signals_.front())) sent_signal_ = signals_.front();
            } catch (const Error& error) {
                context_.log(LogLevel::warning, error.what());
            }
            signals_.pop_front();
        }
    }
    if (++attempts_ > most_attempts) {
        size_.reset();
        signals_.clear();
    }
}

/// The engine's record of the command, nothing if it has none. The pid of one that runs is taken from it.
std::optional<Value> Exec::record(const Patience& patience) {
    const Reply reply = engine_.call(patience, "GET", fmt::format("/exec/{}/json", id_));
    if (!reply.ok()) return std::nullopt;
    Value document = reply.document();
    const auto pid = document["Pid"].int_or(0);
    if (document["Running"].bool_or(false) && pid > 0) pid_ = static_cast<pid_t>(pid);
    return document;
}

/// Whether the command has ended, once its stream has. The stream can end before the process does: the engine
/// reaps it a little later, or it closed its output and goes on. Whether a killed one has is not waited for
/// long.
bool Exec::over() {
    const auto found = record(killed_ ? Patience::for_cleanup(2s) : Patience::of(context_));
    if (!found) {
        throw Error(Code::unavailable,
                    "how the command ended is not known: the engine has no record of it any more, as after "
                    "a restart",
                    {}, true);
    }
    outcome_ = *found;
    if (is_over(outcome_) || (killed_ && pause_ >= longest_pause)) return true;
    pause_ = std::min(pause_ * 2, longest_pause);
    return false;
}

/// Ends the command with all of its session. After it the command is dead, or the log says why not.
void Exec::kill_command() {
    if (killed_ && sent_signal_ == SIGKILL) return;
    killed_ = true;
    sent_signal_ = SIGKILL;
    ended_ = true;
    connection_.reset();
    stop_input();
    output_.clear();
    streams_.output.reset();
    streams_.error.reset();
    const auto give_up = deadline_in(kill_patience);
    while (pid_.value_or(0) == 0 && Deadline::clock::now() < give_up) {
        try {
            const auto found = record({give_up, -1});
            if (!found) break;
            if (is_over(*found)) return;
        } catch (const Error&) {
            break;
        }
        if (pid_.value_or(0) == 0) poll_until(nullptr, 0, deadline_in(retry_pause));
    }
    if (pid_.value_or(0) == 0) {
        context_.log(
            LogLevel::warning,
            fmt::format("a command in container {} could not be killed: the engine does not say which "
                        "process it is",
                        container_.substr(0, 12)));
        return;
    }
    if (!kill_session(*pid_, container_)) {
        context_.log(LogLevel::warning, fmt::format("process {} of a command could not be killed", *pid_));
    }
}

bool Exec::readers_gone() const {
    return (streams_.output && reader_gone(streams_.output.get())) ||
           (streams_.error && reader_gone(streams_.error.get()));
}

ExecEnd Exec::ended() {
    const int code = static_cast<int>(outcome_["ExitCode"].int_or(128 + SIGKILL));
    if (held_) {
        if (outcome_["Pid"].int_or(0) == 0 && (code == 126 || code == 127)) {
            return never_ran(held_->bytes, code);
        }
        // It was output of the command after all.
        const Fd& target = held_->stream == Stream::error ? streams_.error : streams_.output;
        if (target) write_patiently(target.get(), held_->bytes, Patience::of(context_));
    }
    ExecEnd end;
    if (sent_signal_ != 0 && code == 128 + sent_signal_) {
        end.signal = sent_signal_;
    } else {
        end.exit_code = code;
    }
    return end;
}

ExecEnd Exec::never_ran(const std::string& message, int exit_code) {
    const auto what = classify_exec_failure(message);
    if (what == ExecFailure::stopped) throw not_running(plain_exec_failure(message));
    if (what == ExecFailure::user) {
        throw Error(Code::invalid, fmt::format("field 'user': {}", plain_exec_failure(message)),
                    "name a user that the image has, or a number");
    }
    if (what == ExecFailure::directory) {
        throw Error(Code::invalid, fmt::format("field 'cwd': {}", plain_exec_failure(message)),
                    "name a directory that exists in the instance");
    }
    if (what == ExecFailure::not_found) exit_code = 127;
    const Fd& target = streams_.error ? streams_.error : streams_.output;
    const std::string line = exec_failure_line(spec_.command, what, message);
    if (target) write_patiently(target.get(), line, Patience::of(context_));
    return ExecEnd{exit_code, std::nullopt};
}

}  // namespace minions::docker
