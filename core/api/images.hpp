#pragma once

#include "core/api/services.hpp"
#include "core/http/reply.hpp"
#include "core/http/request.hpp"

/// Handlers of /api/images: the VM images of this daemon. Changes are operations.
namespace minions::core::api::images {

http::Reply list(Services& services, http::Request& request);
http::Reply get(Services& services, http::Request& request);
http::Reply build(Services& services, http::Request& request);
/// The body is a disk or an archive of a root file system, as it is.
http::Reply import(Services& services, http::Request& request);
http::Reply remove(Services& services, http::Request& request);

// JSON Schemas of bodies, for /openapi.json.
Value build_schema();
Value object_schema();
Value objects_schema();

}  // namespace minions::core::api::images
