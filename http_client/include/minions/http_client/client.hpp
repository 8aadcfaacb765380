#pragma once

#include <minions/base/deadline.hpp>
#include <minions/base/fd.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace minions::http {

/// Where a server listens.
struct Endpoint {
    std::string unix_path;  ///< if not empty, a Unix socket; the rest is then ignored
    std::string host;       ///< name or numeric address; also the Host header
    std::uint16_t port = 0;
    std::string address = {};  ///< numeric: connect here only and resolve nothing

    static Endpoint unix_socket(std::string path);
    static Endpoint tcp(std::string host, std::uint16_t port);
    /// "/run/x.sock" or "127.0.0.1:80", for messages.
    std::string to_string() const;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

/// Gives the next piece of a body into the buffer and returns its size; 0 at the end. What it throws ends the
/// call.
using BodySource = std::function<std::size_t(char*, std::size_t)>;

struct Request {
    std::string method = "GET";
    std::string target = "/";
    Headers headers = {};  ///< Host, User-Agent and the body's framing are added where missing
    std::string body = {};
    BodySource source = {};  ///< if set, the body, sent in chunks; `body` is then ignored
};

struct Response {
    int status = 0;
    std::string reason;
    Headers headers;
    std::string body;

    /// The first header of this name in any case, or "".
    std::string_view header(std::string_view name) const noexcept;
};

/// When a call has to end.
struct Call {
    Deadline deadline = no_deadline;
    int cancel_fd = -1;  ///< ends the call as soon as it is readable; must live as long as the call's Stream
};

/// A connection that was taken over, in blocking mode, and what the server had sent on it already.
struct Hijacked {
    Fd fd;
    std::string buffered;
};

class Connection;
class Pool;

/// A reply whose body is read piece by piece. Not thread-safe. Dropping it before the body's end closes the
/// connection.
class Stream {
  public:
    Stream(Stream&&) noexcept;
    Stream& operator=(Stream&&) noexcept;
    ~Stream();

    /// Status and headers; `body` is empty.
    const Response& head() const noexcept { return head_; }

    /// Reads at least one byte, at most `size`; 0 at the end, again and again. Throws Error: unavailable (the
    /// connection ended before the body), deadline, cancelled, internal (a body that makes no sense).
    std::size_t read(char* data, std::size_t size);
    /// From now on the body has to end by this time, and not by the deadline of the call.
    void set_deadline(Deadline deadline) noexcept;
    /// The rest of the body. Throws also Code::too_large, if it has more than `max` bytes.
    std::string read_all(std::size_t max);

    /// Gives the raw connection up, after 101 or for a body that ends with the connection (as Docker's attach
    /// without upgrade). Throws Error internal for other replies. The stream is at its end afterwards.
    Hijacked hijack();

  private:
    friend class Client;
    Stream(Response head, std::unique_ptr<Connection> connection, std::shared_ptr<Pool> pool);
    void finish();

    Response head_;
    std::unique_ptr<Connection> connection_;
    std::shared_ptr<Pool> pool_;
};

/// An HTTP/1.1 client for one endpoint. All calls may be made from any thread at the same time; each uses a
/// connection of its own. Redirects are not followed; a status of 400 or more is a reply like others, not an
/// exception.
///
/// Errors: unavailable (cannot connect, closed early; retryable), deadline, cancelled, too_large, invalid (a
/// request that cannot be written), internal (a reply that makes no sense, or a head above 64 KiB).
class Client {
  public:
    /// Keeps up to `max_idle` connections open for reuse. One that the server closed meanwhile is replaced:
    /// the request is sent once more if its method is idempotent and its body not a source.
    explicit Client(Endpoint endpoint, std::size_t max_idle = 0);
    ~Client();

    /// Sends the request and collects the reply, whose body may have up to `max_body` bytes.
    Response request(const Request& request, const Call& call, std::size_t max_body = 16U << 20U) const;
    /// Sends the request and returns once the head of the reply is there.
    Stream open(const Request& request, const Call& call) const;

    const Endpoint& endpoint() const noexcept { return endpoint_; }

  private:
    Endpoint endpoint_;
    std::shared_ptr<Pool> pool_;
};

}  // namespace minions::http
