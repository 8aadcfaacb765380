#pragma once

#include "core/http/router.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core::http {

/// What a client may use up. Sizes in bytes.
struct Limits {
    std::size_t uri_bytes = 8 << 10;      ///< 414 beyond
    std::size_t header_bytes = 32 << 10;  ///< request line and headers; 431 beyond
    std::size_t header_count = 100;       ///< 431 beyond
    std::size_t json_bytes = 1 << 20;     ///< bodies of json routes that name no limit; 413 beyond
    std::size_t raw_bytes = std::size_t{8} << 30;
    std::size_t connections = 4096;  ///< beyond, the idlest is closed, or 503 where none is idle
    std::chrono::milliseconds header_timeout{10'000};  ///< from a head's first byte to its last; 408 beyond
    std::chrono::milliseconds body_timeout{
        60'000};  ///< for a whole json body; for raw ones between two bytes
    std::chrono::milliseconds idle_timeout{75'000};   ///< between two requests
    std::chrono::milliseconds write_timeout{30'000};  ///< without the client reading anything
    std::chrono::milliseconds thread_idle{10'000};    ///< after which a thread of a lane retires
    std::size_t workers = 0;                          ///< 0: by the number of processors
    std::size_t waiting_threads = 128;                ///< of that lane, as the next two; 429 beyond
    std::size_t exec_threads = 128;
    std::size_t stream_threads = 256;
};

enum class LogLevel { debug, info, warning, error };

/// What became of a request, for metrics.
struct Observation {
    std::string_view route;  ///< pattern; empty where none matched
    std::string_view method;
    int status;
    std::chrono::nanoseconds
        duration;  ///< from the complete head to the reply handed to the kernel or its queue
};

struct Options {
    std::vector<std::string> tcp;           ///< "127.0.0.1:3000", "[::1]:0"
    std::vector<std::string> unix_sockets;  ///< absolute paths
    std::string socket_group = "minions";   ///< of the Unix sockets, where such a group exists
    Limits limits;
    /// Decides who calls and whether they may; throws Error (unauthenticated, forbidden, misdirected). Runs
    /// on a worker as soon as the head is complete, for every route but those with Permission::none.
    std::function<Principal(Request&, Permission)> authorize;
    std::function<void(LogLevel, std::string_view)> log;  ///< [any thread]
    std::function<void(const Observation&)> observe;      ///< [any thread], quick
};

class ServerCore;

/// The daemon's HTTP server: an accept loop of ours over epoll. A connection that has not sent a complete
/// request, or does not read its reply, waits in epoll and costs no thread.
class Server {
  public:
    /// Binds, listens and starts to serve. Throws Error: invalid (an address that cannot be read), conflict
    /// (address or socket in use), unavailable.
    Server(Options options, Router router);
    /// stop(0)
    ~Server();
    Server(const Server&) = delete;

    /// The TCP addresses with the ports that were given, in the order of options.tcp.
    const std::vector<std::string>& bound() const noexcept;
    const Router& router() const noexcept;
    std::size_t connections() const;

    /// Stops accepting, tells streams to end, lets requests under way finish until `grace` is over, then cuts
    /// every connection. Returns within grace + 1 s; a handler that still runs then is logged and left alone,
    /// so what it uses must live on. May be called again; not from a handler.
    void stop(std::chrono::milliseconds grace);

  private:
    std::shared_ptr<ServerCore> core_;
};

}  // namespace minions::core::http
