#pragma once

#include "core/api/services.hpp"
#include "core/http/reply.hpp"
#include "core/http/request.hpp"

/// Handlers of /api/vms: instances of every runtime. Each decodes its request, calls Instances, and answers.
namespace minions::core::api::vms {

http::Reply create(Services& services, http::Request& request);
http::Reply list(Services& services, http::Request& request);
http::Reply get(Services& services, http::Request& request);
http::Reply destroy(Services& services, http::Request& request);
http::Reply start(Services& services, http::Request& request);
http::Reply stop(Services& services, http::Request& request);
http::Reply restart(Services& services, http::Request& request);
http::Reply pause(Services& services, http::Request& request);
http::Reply resume(Services& services, http::Request& request);
http::Reply resize(Services& services, http::Request& request);
http::Reply rename(Services& services, http::Request& request);
http::Reply copy(Services& services, http::Request& request);
http::Reply status(Services& services, http::Request& request);
http::Reply diagnosis(Services& services, http::Request& request);
http::Reply logs(Services& services, http::Request& request);
http::Reply read_files(Services& services, http::Request& request);
http::Reply write_files(Services& services, http::Request& request);
http::Reply snapshots(Services& services, http::Request& request);
http::Reply create_snapshot(Services& services, http::Request& request);
http::Reply restore_snapshot(Services& services, http::Request& request);
http::Reply delete_snapshot(Services& services, http::Request& request);

// JSON Schemas of bodies, for /openapi.json.
Value create_schema();
Value stop_schema();
Value new_name_schema();
Value object_schema();
Value objects_schema();
Value stats_schema();
Value snapshots_schema();

}  // namespace minions::core::api::vms
