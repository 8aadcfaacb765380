#pragma once

#include "plugins/docker/config.hpp"
#include "plugins/docker/reader.hpp"

#include <minions/base/fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/http_client/client.hpp>
#include <minions/types.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace minions::docker {

/// What the engine says of itself.
struct EngineVersion {
    std::string version;  ///< "20.10.24"
    std::string api;      ///< the version spoken from here on: "1.41"
    bool podman = false;

    friend bool operator==(const EngineVersion&, const EngineVersion&) = default;
};

/// The version of the engine's API to speak, from GET /version. Throws Error{unavailable} when there is none
/// that both sides know.
EngineVersion negotiate(const Value& version_document);

/// An answer that has been read whole.
struct Reply {
    int status = 0;
    std::string body;

    bool ok() const noexcept { return status >= 200 && status < 300; }
    Value document() const;       ///< null where the body is no JSON
    std::string message() const;  ///< of an error, without its last newline
};

/// `reply`, which is not ok(), as an Error about `what` ("the container cannot be made"): 400 invalid, 404
/// not_found, 409 conflict, 503 unavailable, no space left no_space, others failed.
Error failure(const Reply& reply, std::string_view what);

/// The object in `reply`, which is ok(). Throws Error{internal} about `what` when there is none: what cannot
/// be read must not count as absent.
Value object_in(const Reply& reply, std::string_view what);

/// The body of an answer as it comes, within the patience of the request.
class Incoming {
  public:
    explicit Incoming(http::Stream stream);

    int status() const { return stream_.head().status; }
    /// Waits for at least one byte; an empty view is the end. Valid until the next call. Throws
    /// Error{unavailable} when the connection breaks, cancelled and deadline.
    std::string_view read();
    /// The rest.
    std::string rest();

  private:
    http::Stream stream_;
    std::unique_ptr<char[]> buffer_;
};

/// The engine's API over its Unix socket: one connection per request. Every call throws Error{unavailable}
/// naming the socket and the cure while the engine is away, and when it goes away in the middle; cancelled
/// and deadline by its patience. [any thread]
class Engine {
  public:
    explicit Engine(const Config& config);

    /// Asks the engine; remembers what version to speak. Throws unavailable.
    EngineVersion version(const Patience& patience);

    /// A request that the engine answers within `api_timeout_seconds`, `extra` added. `body` is a JSON
    /// document or null. `path` is without the version, and begins with a slash.
    Reply call(const Patience& patience, std::string_view method, std::string_view path,
               const Value& body = {}, milliseconds extra = milliseconds(0));
    /// GET of a list. Throws failure() about `what`, and internal when what comes is no list.
    Value::Array list(const Patience& patience, std::string_view what, std::string_view path);
    /// As call(), for what has to succeed.
    Value expect(const Patience& patience, std::string_view what, std::string_view method,
                 std::string_view path, const Value& body = {});

    /// A request whose answer is read as it comes; the head is there when this returns, which for a GET takes
    /// no longer than other calls may: unavailable after that.
    /// `whenever`: a GET that the engine may think about for as long as the patience lasts.
    enum class Head { promptly, whenever };
    Incoming open(const Patience& patience, std::string_view method, std::string_view path,
                  Head head = Head::promptly);
    /// As open(), with what `source` yields, until its end, as the request's body, and no limit of its own.
    Incoming upload(const Patience& patience, std::string_view method, std::string_view path,
                    http::BodySource source);
    Incoming upload(const Patience& patience, std::string_view method, std::string_view path, int source);
    /// POST that turns its connection into a stream, or the engine's refusal.
    std::variant<http::Hijacked, Reply> hijack(const Patience& patience, std::string_view path,
                                               const Value& body);

    const std::string& socket() const noexcept { return socket_; }
    /// Who it is, as it last said; asks the engine only if that is not known.
    EngineVersion spoken(const Patience& patience);

  private:
    std::string versioned(const Patience& patience, std::string_view path);
    /// Sends and waits for the head: at most `api_timeout_` plus `extra`.
    Reply timed(const Patience& patience, std::string_view method, const std::string& target,
                const Value& body, milliseconds extra);
    /// What the client says, in words of the engine's administrator.
    Error explained(const Error& error, bool own_limit);

    std::string socket_;
    http::Client client_;
    milliseconds api_timeout_;
    Sync<std::optional<EngineVersion>> version_;
};

/// A value for a query or a path, percent-encoded.
std::string encoded(std::string_view text);

}  // namespace minions::docker
