#include "cli/exec_stream.hpp"

#include "cli/arguments.hpp"
#include "cli/terminal.hpp"

#include <minions/http_client/websocket.hpp>

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <istream>
#include <iterator>
#include <map>
#include <ostream>

namespace minions::cli {
namespace {

using websocket::Opcode;

constexpr std::size_t piece = std::size_t{64} << 10;
constexpr std::size_t max_unsent = std::size_t{256} << 10;
constexpr std::size_t max_message = std::size_t{2} << 20;
constexpr int patience_with_signals = 3;

/// Ends the program with this code, without the command's end.
struct Abandoned {
    int code;
};

/// What the command writes to one of this program's streams. Never waits for its reader: poll() says when
/// more can be written.
class Sink {
  public:
    Sink(std::ostream& stream, int fd) : stream_(stream), fd_(fd) {
        struct stat about {};
        const bool plain = fd >= 0 && ::fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
        at_once_ = plain ? SIZE_MAX : PIPE_BUF;  // what poll() promises of a pipe or a terminal
    }

    void add(std::string_view data) {
        if (fd_ < 0) {
            stream_ << data << std::flush;
        } else {
            pending_ += data;
        }
    }
    bool full() const noexcept { return pending_.size() - written_ > 0; }
    /// To be polled for POLLOUT; -1 where there is nothing to write.
    int fd() const noexcept { return full() ? fd_ : -1; }

    void write_some() {
        const std::size_t size = std::min(pending_.size() - written_, at_once_);
        const ssize_t put = ::write(fd_, pending_.data() + written_, size);
        if (put < 0 && errno != EINTR && errno != EAGAIN) throw Abandoned{128 + SIGPIPE};
        if (put > 0) written_ += static_cast<std::size_t>(put);
        if (!full()) pending_.resize(written_ = 0);
    }

  private:
    std::ostream& stream_;
    int fd_;
    std::size_t at_once_;
    std::string pending_;
    std::size_t written_ = 0;
};

/// One command between a WebSocket and the standard streams.
class Conversation {
  public:
    Conversation(const Console& console, http::Hijacked& connection, SignalReader& signals, bool input)
        : socket_(connection.fd.get(), websocket::Role::client, max_message, connection.buffered),
          signals_(signals),
          input_fd_(input ? console.in_fd : -1),
          input_open_(input),
          out_(console.out, console.out_fd),
          err_(console.err, console.err_fd) {
        if (input && input_fd_ < 0) given_.assign(std::istreambuf_iterator<char>(console.in), {});
        make_nonblocking(socket_.fd());
    }

    /// The exit record.
    Value run(const Value& spec) {
        socket_.send_text(to_json(spec));
        while (!closed_ || out_.full() || err_.full()) step();
        if (record_.is_null()) throw lost();
        return record_;
    }

  private:
    static CannotConnect lost() {
        return {Code::unavailable, "the connection to the daemon ended before the command did"};
    }

    /// What arrives is taken only while there is nothing left to write: so the command waits for our reader.
    bool listens() const { return !closed_ && !out_.full() && !err_.full(); }

    void step() {
        send_given();
        while (listens()) {
            const auto message = socket_.next();
            if (!message) break;
            take(*message);
        }
        const bool there = socket_.flush();
        if (!there && !closed_ && record_.is_null()) broken_ = true;  // what it said last is still to be read
        const bool reads_input = input_open_ && input_fd_ >= 0 && socket_.unsent() < max_unsent;
        const bool sends = !closed_ && !broken_ && socket_.unsent() > 0;
        if (closed_ && !out_.full() && !err_.full()) return;
        pollfd waits[] = {
            {closed_ ? -1 : socket_.fd(),
             static_cast<short>((listens() ? POLLIN : 0) | (sends ? POLLOUT : 0)), 0},
            {signals_.fd(), POLLIN, 0},
            {reads_input ? input_fd_ : -1, POLLIN, 0},
            {out_.fd(), POLLOUT, 0},
            {err_.fd(), POLLOUT, 0},
        };
        if (!listens()) waits[0].fd = sends ? waits[0].fd : -1;  // or its end would be reported for ever
        poll_until(waits, std::size(waits), no_deadline);
        if (waits[1].revents != 0) take_signals();
        if (waits[3].revents != 0) out_.write_some();
        if (waits[4].revents != 0) err_.write_some();
        if (waits[2].revents != 0) read_input();
        if ((waits[0].revents & ~POLLOUT) != 0 && listens() && !socket_.receive()) closed_ = true;
    }

    void take(const websocket::Message& message) {
        switch (message.opcode) {
            case Opcode::text:
                record_ = parse_json(message.payload);
                input_open_ = false;
                return;
            case Opcode::close:
                if (record_.is_null() && !message.payload.empty())
                    throw Error(Code::internal, "the daemon ended the connection: " + message.payload);
                closed_ = true;
                socket_.send_close(websocket::close_code::normal, "");
                socket_.flush();
                return;
            default:
                break;
        }
        if (message.payload.empty()) return;
        (message.payload[0] == 2 ? err_ : out_).add(std::string_view(message.payload).substr(1));
    }

    /// Input that was there from the start.
    void send_given() {
        while (input_open_ && input_fd_ < 0 && socket_.unsent() < max_unsent) {
            const std::string_view rest = std::string_view(given_).substr(given_sent_);
            send_input(rest.substr(0, std::min(piece, rest.size())));
            given_sent_ += std::min(piece, rest.size());
        }
    }

    void read_input() {
        std::array<char, piece> buffer;
        const ssize_t got = ::read(input_fd_, buffer.data(), buffer.size());
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
        send_input({buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))});
    }

    /// An empty piece is the end.
    void send_input(std::string_view data) {
        socket_.send_binary(0, data);
        input_open_ = !data.empty();
    }

    void take_signals() {
        while (const auto signal = signals_.next()) {
            if (*signal == SIGWINCH) {
                const auto size = terminal_size(STDIN_FILENO);
                if (!size) continue;
                socket_.send_text(to_json(Value::object({{"rows", size->rows}, {"columns", size->columns}})));
            } else {
                if (++seen_[*signal] == patience_with_signals) throw Abandoned{128 + *signal};
                socket_.send_text(to_json(Value::object({{"signal", *signal}})));
            }
        }
    }

    websocket::Socket socket_;
    SignalReader& signals_;
    int input_fd_;
    bool input_open_;
    std::string given_;
    std::size_t given_sent_ = 0;
    Sink out_;
    Sink err_;
    Value record_;
    bool closed_ = false;
    bool broken_ = false;
    std::map<int, int> seen_;
};

int exit_code_of(const Value& record) {
    if (const auto* message = record["error"].if_string())
        throw Error(code_from_word(record["code"].string_or("internal")), *message,
                    record["hint"].string_or(""));
    // A shell's convention for a command that a signal ended.
    if (const auto* signal = record["signal"].if_int()) return 128 + static_cast<int>(*signal);
    return static_cast<int>(record["exit_code"].int_or(exit_failed));
}

}  // namespace

int exec_stream(Session& session, const std::string& name, Value spec) {
    const Console& console = session.console;
    const bool tty = spec["tty"].bool_or(false);
    if (tty) {
        if (const auto size = terminal_size(console.in_fd)) {
            spec.set("rows", size->rows);
            spec.set("columns", size->columns);
        }
    }
    http::Hijacked connection =
        session.web_socket(instance_path(name, "/exec"), std::string("minions.exec.v1"));
    // SIGPIPE is among them so that a write that nobody reads is an error, and the terminal gets restored.
    SignalReader signals{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGPIPE};
    std::optional<RawTerminal> raw;
    if (tty && console.in_fd >= 0 && spec["stdin"].bool_or(false)) raw.emplace(console.in_fd);
    try {
        Conversation conversation(console, connection, signals, spec["stdin"].bool_or(false));
        return exit_code_of(conversation.run(spec));
    } catch (const Abandoned& abandoned) {
        return abandoned.code;
    } catch (const websocket::Broken& broken) {
        throw Error(Code::internal, std::string("the daemon's WebSocket brought ") + broken.what());
    }
}

}  // namespace minions::cli
