#pragma once

#include "core/api/services.hpp"
#include "core/http/reply.hpp"
#include "core/http/request.hpp"

/// Handlers of /api/v1/vm: git repositories deployed as containers. Errors there are {"detail": …}.
namespace minions::core::api::v1 {

http::Reply deploy(Services& services, http::Request& request);
http::Reply list(Services& services, http::Request& request);
http::Reply stop(Services& services, http::Request& request);
http::Reply health(Services& services, http::Request& request);
/// The history: every deploy call that is kept, newest first.
http::Reply deployments(Services& services, http::Request& request);
http::Reply deployment(Services& services, http::Request& request);
http::Reply log(Services& services, http::Request& request);

// JSON Schemas of bodies, for /openapi.json.
Value deploy_schema();
Value stop_schema();
Value container_schema();
Value containers_schema();

}  // namespace minions::core::api::v1
