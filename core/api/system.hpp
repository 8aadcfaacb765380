#pragma once

#include "core/api/services.hpp"
#include "core/http/reply.hpp"
#include "core/http/request.hpp"

/// Handlers of what is about the daemon itself.
namespace minions::core::api::system {

http::Reply healthz(Services& services, http::Request& request);
/// 200 when requests can be served, else 503 with the reason.
http::Reply readyz(Services& services, http::Request& request);
http::Reply metrics(Services& services, http::Request& request);
http::Reply openapi_document(Services& services, http::Request& request);
http::Reply plugins(Services& services, http::Request& request);

http::Reply operations(Services& services, http::Request& request);
http::Reply operation(Services& services, http::Request& request);
/// Asks a running operation to end and roll back; answers at once with its row.
http::Reply cancel_operation(Services& services, http::Request& request);

/// Server-sent events: `id`, `event` (the type) and `data` (the event as JSON). `Last-Event-ID`, or
/// `?after=`, replays what came since.
http::Reply events(Services& services, http::Request& request);

/// Makes a token; the reply is the only place where it is ever shown.
http::Reply create_token(Services& services, http::Request& request);
http::Reply tokens(Services& services, http::Request& request);
http::Reply revoke_token(Services& services, http::Request& request);

Value operation_schema();
Value operations_schema();
Value create_token_schema();

}  // namespace minions::core::api::system
