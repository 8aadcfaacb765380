#pragma once

#include "core/api/services.hpp"
#include "core/http/reply.hpp"
#include "core/http/request.hpp"

namespace minions::core::api {

/// GET /api/vms/{name}/exec: runs a command over a WebSocket, as docs/api.md describes. A caller that goes
/// away ends the command.
http::Reply exec_stream(Services& services, http::Request& request);

}  // namespace minions::core::api
