#pragma once

#include <minions/http_client/websocket.hpp>
#include <minions/runtime.hpp>

#include <cstddef>
#include <deque>
#include <string>
#include <vector>

namespace minions::core::api {

/// The first byte of each binary message of an exec.
enum class ExecChannel : std::uint8_t { input = 0, output = 1, error = 2 };

/// The client of a WebSocket is not there any more, or has closed it with this code.
struct ClientGone {
    std::uint16_t code = websocket::close_code::going_away;
};

/// Carries an exec between a WebSocket and the descriptors that its runtime got. What one side does not take,
/// the other is not asked for: memory is bounded, and nothing is dropped. Used by one thread.
class ExecPump {
  public:
    ExecPump(websocket::Socket& socket, int gone_fd);

    /// The descriptors for the runtime; once.
    ExecStreams open(bool input, bool tty);
    /// Carries until the command has ended (`done_fd` is readable) and all its output is on its way. False if
    /// an end of the output did not come within a second of the command's. Throws ClientGone, and Broken for
    /// messages that make no sense.
    bool run(int done_fd);
    /// Gives the runtime's descriptors up: who writes to them gets EPIPE.
    void close();

  private:
    bool has_room() const;
    void take_messages();
    void take(const websocket::Message& message);
    void take_input(std::string_view data);
    void take_control(const std::string& text);
    void feed_input();
    void feed_control();
    void take_output(Fd& from, ExecChannel channel);
    void talk(short events);

    websocket::Socket& socket_;
    int gone_fd_;
    Fd input_;
    Fd output_;
    Fd error_;
    Fd control_;
    std::string pending_;  ///< input that the command has not taken
    std::size_t fed_ = 0;
    bool input_ended_ = false;
    std::deque<std::string> controls_;
    std::vector<char> buffer_;
};

/// Throws ClientGone if the message says so.
void refuse_close(const websocket::Message& message);

/// Waits for the first message. Throws ClientGone, Broken, Error{deadline}.
websocket::Message first_message(websocket::Socket& socket, int gone_fd, SteadyTime until);

/// Waits until the client has taken all that was sent. Throws ClientGone.
void send_rest(websocket::Socket& socket, int gone_fd);

}  // namespace minions::core::api
