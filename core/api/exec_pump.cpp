#include "core/api/exec_pump.hpp"

#include <minions/base/deadline.hpp>
#include <minions/codec.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <iterator>

namespace minions::core::api {
namespace {

using websocket::Broken;
using websocket::Opcode;
namespace close_code = websocket::close_code;

constexpr std::size_t piece = std::size_t{64} << 10;
/// What the client has not taken, beyond which no more of the command's output is read.
constexpr std::size_t max_unsent = std::size_t{256} << 10;
/// What the command has not taken, beyond which the client is not listened to.
constexpr std::size_t max_pending = std::size_t{256} << 10;
constexpr std::size_t max_controls = 64;
constexpr auto patience = std::chrono::seconds(1);

/// Whether a write may be tried again later.
bool later() { return errno == EAGAIN || errno == EINTR; }

}  // namespace

ExecPump::ExecPump(websocket::Socket& socket, int gone_fd)
    : socket_(socket), gone_fd_(gone_fd), buffer_(piece) {}

ExecStreams ExecPump::open(bool input, bool tty) {
    ExecStreams streams;
    const auto outlet = [](Fd& ours) {
        FdPair pipe = make_pipe();
        make_nonblocking(pipe.first.get());
        ours = std::move(pipe.first);
        return std::move(pipe.second);
    };
    if (input) {
        FdPair pipe = make_pipe();
        make_nonblocking(pipe.second.get());
        input_ = std::move(pipe.second);
        streams.input = std::move(pipe.first);
    }
    streams.output = outlet(output_);
    if (!tty) streams.error = outlet(error_);
    FdPair control = make_socketpair(SOCK_SEQPACKET);
    control_ = std::move(control.first);
    streams.control = std::move(control.second);
    return streams;
}

void ExecPump::close() {
    for (Fd* fd : {&input_, &output_, &error_, &control_}) fd->reset();
}

bool ExecPump::has_room() const {
    return pending_.size() - fed_ < max_pending && controls_.size() < max_controls;
}

void ExecPump::take_messages() {
    while (has_room()) {
        const auto message = socket_.next();
        if (!message) return;
        take(*message);
    }
}

void ExecPump::take(const websocket::Message& message) {
    switch (message.opcode) {
        case Opcode::binary:
            if (message.payload.empty() || message.payload[0] != static_cast<char>(ExecChannel::input))
                throw Broken(close_code::unsupported_data, "a binary message begins with channel 0");
            return take_input(std::string_view(message.payload).substr(1));
        case Opcode::text:
            return take_control(message.payload);
        default:
            return refuse_close(message);
    }
}

void ExecPump::take_input(std::string_view data) {
    if (!input_ || input_ended_) return;
    if (data.empty()) input_ended_ = true;
    pending_.erase(0, std::exchange(fed_, 0));
    pending_ += data;
    feed_input();
}

void ExecPump::take_control(const std::string& text) {
    try {
        const auto control = decode<ExecControl>(parse_json(text));
        const bool size = control.rows && control.columns;
        if (control.rows.has_value() != control.columns.has_value() || (!size && !control.signal))
            throw Error(Code::invalid, "a control message has 'signal', or 'rows' and 'columns'");
        controls_.push_back(to_json(encode(control)));
    } catch (const Error& error) {
        throw Broken(close_code::invalid_data, error.message());
    }
    feed_control();
}

void ExecPump::feed_input() {
    while (input_ && fed_ < pending_.size()) {
        const ssize_t put = ::write(input_.get(), pending_.data() + fed_, pending_.size() - fed_);
        if (put < 0 && later()) return;
        if (put < 0) input_.reset();  // the command wants no more
        if (put > 0) fed_ += static_cast<std::size_t>(put);
    }
    pending_.clear();
    fed_ = 0;
    if (input_ended_) input_.reset();
}

void ExecPump::feed_control() {
    while (control_ && !controls_.empty()) {
        const std::string& text = controls_.front();
        if (::send(control_.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            if (later()) return;
            control_.reset();
        }
        controls_.pop_front();
    }
    if (!control_) controls_.clear();
}

void ExecPump::take_output(Fd& from, ExecChannel channel) {
    const ssize_t got = ::read(from.get(), buffer_.data(), buffer_.size());
    if (got < 0 && later()) return;
    if (got <= 0) return from.reset();
    socket_.send_binary(static_cast<std::uint8_t>(channel), {buffer_.data(), static_cast<std::size_t>(got)});
}

void ExecPump::talk(short events) {
    // What was sent before the end is heard first: a close frame comes right before it.
    if ((events & (POLLIN | POLLERR | POLLHUP)) != 0 && has_room()) {
        const bool there = socket_.receive();
        take_messages();
        if (!there) throw ClientGone();
    } else if ((events & (POLLERR | POLLHUP)) != 0) {
        throw ClientGone();
    }
}

bool ExecPump::run(int done_fd) {
    bool done = false;
    while (!done || output_ || error_) {
        take_messages();
        if (!socket_.flush()) throw ClientGone();
        const bool hungry = socket_.unsent() < max_unsent;
        pollfd waits[] = {
            {socket_.fd(),
             static_cast<short>((has_room() ? POLLIN : 0) | (socket_.unsent() > 0 ? POLLOUT : 0)), 0},
            {gone_fd_, POLLIN, 0},
            {done ? -1 : done_fd, POLLIN, 0},
            {hungry ? output_.get() : -1, POLLIN, 0},
            {hungry ? error_.get() : -1, POLLIN, 0},
            {input_.get(), static_cast<short>(fed_ < pending_.size() ? POLLOUT : 0), 0},
            {controls_.empty() ? -1 : control_.get(), POLLOUT, 0},
        };
        const auto until = done && hungry ? deadline_in(patience) : no_deadline;
        if (poll_until(waits, std::size(waits), until) == 0) return false;
        if (waits[1].revents != 0) throw ClientGone();
        if (waits[2].revents != 0) done = true;
        if (waits[3].revents != 0) take_output(output_, ExecChannel::output);
        if (waits[4].revents != 0) take_output(error_, ExecChannel::error);
        if ((waits[5].revents & POLLERR) != 0) input_.reset();
        if (waits[5].revents != 0) feed_input();
        if (waits[6].revents != 0) feed_control();
        talk(waits[0].revents);
    }
    return true;
}

void refuse_close(const websocket::Message& message) {
    if (message.opcode != Opcode::close) return;
    throw ClientGone{message.code == close_code::none ? close_code::normal : message.code};
}

websocket::Message first_message(websocket::Socket& socket, int gone_fd, SteadyTime until) {
    for (;;) {
        if (auto message = socket.next()) return *std::move(message);
        if (!socket.flush()) throw ClientGone();
        pollfd waits[] = {{socket.fd(), static_cast<short>(POLLIN | (socket.unsent() > 0 ? POLLOUT : 0)), 0},
                          {gone_fd, POLLIN, 0}};
        if (poll_until(waits, 2, until) == 0)
            throw Error(Code::deadline, "no message came that says what to run");
        if (waits[1].revents != 0) throw ClientGone();
        if ((waits[0].revents & ~POLLOUT) != 0 && !socket.receive()) throw ClientGone();
    }
}

void send_rest(websocket::Socket& socket, int gone_fd) {
    for (;;) {
        if (!socket.flush()) throw ClientGone();
        if (socket.unsent() == 0) return;
        pollfd waits[] = {{socket.fd(), POLLIN | POLLOUT, 0}, {gone_fd, POLLIN, 0}};
        poll_until(waits, 2, no_deadline);
        if (waits[1].revents != 0) throw ClientGone();
        if ((waits[0].revents & ~POLLOUT) == 0) continue;
        // What the client still sends is read, so that it comes to reading.
        if (!socket.receive()) throw ClientGone();
        while (socket.next()) {
        }
    }
}

}  // namespace minions::core::api
