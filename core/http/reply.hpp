#pragma once

#include <minions/error.hpp>
#include <minions/value.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace Poco::Net {
class StreamSocket;
}

namespace minions::core::http {

/// Where a stream handler writes. One thread at a time.
///
/// The head goes out with the first write or start(); an exception before that still becomes an ordinary
/// error reply, a later one cuts the connection so that the client sees that the reply is incomplete.
class Stream {
  public:
    virtual ~Stream() = default;
    /// Sends the head now, so that the client knows that it is connected.
    virtual void start() = 0;
    /// Sends `data` as one chunk; returns when the kernel has it. Throws Error{cancelled} when the client is
    /// gone, reads nothing for the write timeout, or the server ends the drain.
    virtual void write(std::string_view data) = 0;
    /// The socket, for poll() on POLLRDHUP. Do not read, write or close it.
    virtual int fd() const noexcept = 0;
};

using StreamFunction = std::function<void(Stream&)>;
/// Gets the connection, in blocking mode, after the head has been sent, and what the client had sent beyond
/// the request. The connection is closed when it returns and no copy of the socket is left. At the end of a
/// drain the socket is shut down under its feet.
using TakeOver = std::function<void(Poco::Net::StreamSocket& socket, std::string leftover)>;

struct Reply {
    int status = 200;
    std::string content_type;
    std::vector<std::pair<std::string, std::string>> headers;
    /// Shared, so that one cached body goes to many clients without a copy. Null is an empty body.
    std::shared_ptr<const std::string> body;
    /// Instead of a body: runs in the lane `stream`.
    StreamFunction stream;
    /// Instead of a body: for 101 Switching Protocols; runs in the lane `stream`, or the route's if that is
    /// `command`.
    TakeOver take_over;
};

Reply json(int status, const Value& value);
/// A body that is JSON text already.
Reply json_text(int status, std::shared_ptr<const std::string> body);
Reply text(int status, std::string body, std::string content_type = "text/plain; charset=utf-8");
Reply stream(int status, std::string content_type, StreamFunction function);
/// 101 with "Connection: Upgrade" and "Upgrade: <protocol>".
Reply upgrade(std::string protocol, std::vector<std::pair<std::string, std::string>> headers,
              TakeOver function);
/// The reply to a failure of a request to `path`, with the headers its status calls for (WWW-Authenticate,
/// Retry-After).
Reply error_reply(std::string_view path, const Error& error);

}  // namespace minions::core::http
