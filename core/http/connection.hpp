#pragma once

#include "core/http/body.hpp"
#include "core/http/head.hpp"
#include "core/http/reply.hpp"
#include "core/http/request.hpp"

#include <minions/base/fd.hpp>
#include <minions/base/sync.hpp>

#include <Poco/Net/StreamSocket.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace minions::core::http {

using Clock = std::chrono::steady_clock;

/// One request from its complete head to its reply.
struct Exchange {
    Request request;
    const Route* route = nullptr;
    Framing framing;
    BodyDecoder decoder;
    bool http11 = true;
    bool keep_alive = false;
    bool expects_continue = false;  ///< and has not been told to go on yet
    Clock::time_point started = Clock::now();
};

/// A connection of a client.
///
/// Whoever turns `owner` from parked to busy, and only that thread, touches what is not atomic; it ends by
/// parking, by closing, or by handing the connection to another thread. The descriptor lives as long as this
/// object.
struct Connection {
    enum class Owner : std::uint8_t { parked, busy, closed };
    enum class Stage : std::uint8_t {
        head,       ///< reading a request's head; `in` is empty between requests
        body,       ///< reading a request's body
        handling,   ///< a handler has it
        writing,    ///< the client does not read as fast as the reply comes
        lingering,  ///< closed by us; what the client still sends is thrown away, or it would never see our
                    ///< reply
    };
    /// How useful the connection is while it is parked, for making room.
    enum class Waiting : std::uint8_t { idle, head, other };

    Connection(std::uint64_t id, Fd accepted);
    ~Connection();

    /// Makes a parked connection the caller's. Waits for a park() under way: until that has armed the
    /// descriptor, nobody else may close it or arm it again.
    bool take() noexcept {
        const std::lock_guard lock(parking);
        Owner expected = Owner::parked;
        return owner.compare_exchange_strong(expected, Owner::busy);
    }

    const std::uint64_t id;
    Poco::Net::StreamSocket socket;
    const int fd;
    std::shared_ptr<Peer> peer;

    std::mutex parking;  ///< held while the connection is armed and becomes parked
    std::atomic<Owner> owner{Owner::busy};
    std::atomic<Clock::time_point> deadline{Clock::time_point::max()};  ///< while parked
    std::atomic<Waiting> waiting{Waiting::other};
    Sync<std::shared_ptr<Client>> client;  ///< of the request under way

    Stage stage = Stage::head;
    std::string in;
    HeadScanner scanner;
    std::optional<Clock::time_point> head_deadline;
    Clock::time_point body_deadline;
    std::unique_ptr<Exchange> exchange;

    std::string out_head;
    std::shared_ptr<const std::string> out_body;
    std::size_t out_sent = 0;
    bool close_after = false;
    bool linger = false;
};

using ConnectionPtr = std::shared_ptr<Connection>;

enum class Io : std::uint8_t { done, blocked, ended };

/// Reads what is there, up to 16 KiB, and appends it to `connection.in`. Errors count as ended.
Io receive(Connection& connection);
/// Writes head and body as far as the kernel takes them.
Io send_output(Connection& connection);

/// Writes one or two pieces to a non-blocking socket, waiting up to `timeout` without progress. Throws
/// Error{cancelled}.
void send_waiting(int fd, std::string_view first, std::string_view second, std::string_view third,
                  std::chrono::milliseconds timeout);

/// The head of a reply. `length` of the body; null where it is chunked, ends with the connection, or there is
/// none. Throws std::logic_error for a header that holds a line break.
std::string format_head(const Reply& reply, const Exchange* exchange, std::optional<std::size_t> length,
                        bool chunked, bool keep_alive);

/// The Stream of a reply.
class StreamWriter final : public Stream {
  public:
    /// Thrown into the handler of a HEAD request, once the head is sent, where it would begin its body.
    struct HeadOnly {};

    StreamWriter(Connection& connection, const Reply& reply, bool keep_alive,
                 std::chrono::milliseconds timeout);
    void start() override;
    void write(std::string_view data) override;
    int fd() const noexcept override { return connection_.fd; }
    bool started() const noexcept { return started_; }
    /// The last chunk.
    void finish();

  private:
    Connection& connection_;
    std::string head_;
    bool chunked_;
    bool head_only_;
    bool started_ = false;
    std::chrono::milliseconds timeout_;
};

/// The Request::reader of raw routes.
class RawReader final : public BodyReader {
  public:
    RawReader(Connection& connection, const Limits& limits) : connection_(connection), limits_(limits) {}
    std::size_t read(char* into, std::size_t size) override;

  private:
    Connection& connection_;
    const Limits& limits_;
};

}  // namespace minions::core::http
