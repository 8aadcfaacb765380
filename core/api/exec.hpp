#pragma once

#include "core/api/services.hpp"
#include "core/http/reply.hpp"
#include "core/http/request.hpp"

#include <functional>

namespace minions::core::api {

/// POST /api/vms/{name}/exec: runs a command and answers with its exit code and output once it has ended.
/// Output that is no UTF-8 comes as base64, output beyond the configured size is cut, and the reply says
/// both. A caller that goes away ends the command.
http::Reply exec(Services& services, http::Request& request);
/// JSON Schema of its body.
Value exec_request_schema();

}  // namespace minions::core::api
