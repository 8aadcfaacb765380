#pragma once

#include "core/http/reply.hpp"
#include "core/http/request.hpp"
#include "core/instances/instances.hpp"
#include "core/operations/operations.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/codec.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace minions::core::api {

/// The owner that requests act for.
inline constexpr const char* local_owner = "local";

/// The instance that the route's {name} names. Throws Error{invalid} for what can be no name.
InstanceKey instance_key(const http::Request& request);

/// "1", "true", "0", "false"; absent is false.
bool query_flag(const http::Request& request, std::string_view name);
std::optional<std::int64_t> query_integer(const http::Request& request, std::string_view name,
                                          std::int64_t min, std::int64_t max);

/// The body, which may be empty for a struct without required fields.
template <class T>
T body_of(const http::Request& request) {
    return decode<T>(request.body.empty() ? Value::object() : request.json());
}

/// The request's Idempotency-Key with the route and a digest of the body; nullopt where there is none.
std::optional<Idempotency> idempotency_of(const http::Request& request);

/// Whether a reply ends by itself, or goes on until its reader or the daemon ends.
enum class Lasts : std::uint8_t { to_its_end, for_ever };

/// Becomes readable when the caller of a request has gone, and for what lasts for ever also when the daemon
/// begins to drain; the rest has the drain's grace to end.
class CallerGone {
  public:
    explicit CallerGone(const std::shared_ptr<http::Client>& client, Lasts lasts = Lasts::to_its_end);
    int fd() const noexcept { return event_.fd(); }
    void raise() noexcept { event_.raise(); }

  private:
    EventFd event_;
    http::Client::Watch watch_;
};

/// Answers a request that started `operation`: 202 with its row for `Prefer: respond-async`, else its result
/// with `status` once it has ended. A caller that goes away stops waiting; the operation goes on.
http::Reply answer(http::Request& request, const OperationPtr& operation, int status);

http::Reply accepted(const OperationPtr& operation);
bool wants_async(const http::Request& request);

/// Copies what `produce` writes into the pipe it is given to the client, as it comes. An Error thrown before
/// the first byte becomes an ordinary reply; only what lasts for ever sends its head before that. `produce`
/// runs on a thread of its own and gets a descriptor that becomes readable when it should end, see
/// CallerGone.
http::Reply stream_from(http::Request& request, std::string content_type, Lasts lasts,
                        std::function<void(Fd, int cancel_fd)> produce);

}  // namespace minions::core::api
