#include "core/api/routes.hpp"

#include "core/api/exec.hpp"
#include "core/api/exec_stream.hpp"
#include "core/api/images.hpp"
#include "core/api/system.hpp"
#include "core/api/v1.hpp"
#include "core/api/vms.hpp"

namespace minions::core::api {
namespace {

using enum http::Permission;
using enum http::Lane;
using Body = http::BodyKind;

constexpr std::string_view text = "text/plain";
constexpr std::string_view tar = "application/x-tar";

Value exec_reply_schema() {
    const auto type = [](const char* name) { return Value::object({{"type", name}}); };
    return Value::object({{"type", "object"},
                          {"properties", Value::object({{"exit_code", type("integer")},
                                                        {"stdout", type("string")},
                                                        {"stderr", type("string")},
                                                        {"stdout_encoding", type("string")},
                                                        {"stderr_encoding", type("string")},
                                                        {"truncated", type("boolean")},
                                                        {"signal", type("integer")}})}});
}

Value any() { return Value::object(); }

const std::vector<QueryDoc>& list_query() {
    static const std::vector<QueryDoc> query = {
        {"limit", "integer", "at most so many; the reply then has a Link to the next page"},
        {"cursor", "string", "from that Link"},
        {"label", "string", "KEY=VALUE"},
        {"status", "string", "one of the states"},
        {"runtime", "string", "name of a runtime"}};
    return query;
}

std::vector<ApiRoute> make_routes() {
    const std::vector<QueryDoc> log_query = {{"tail", "integer", "lines from the end"},
                                             {"follow", "boolean", "go on as more comes"}};
    const std::vector<QueryDoc> path_query = {{"path", "string", "absolute, inside the instance"}};
    const std::vector<QueryDoc> import_query = {
        {"name", "string", "of the new image"},
        {"format", "string", "raw, qcow2, tar, tar.gz or tar.zst; absent: told by the first bytes"},
        {"kernel_from", "string", "image whose kernel it starts with; absent: images.default"},
        {"command_line", "string", "of the kernel; absent: that image's"}};
    // clang-format off
    return {
        // method, pattern, permission, lane, body, handler, summary, success, request, response, media, query
        {"GET",    "/healthz",      none, quick, Body::none, system::healthz, "Whether the daemon answers", 200, nullptr, nullptr, text},
        {"GET",    "/readyz",       none, quick, Body::none, system::readyz, "Whether the daemon can serve requests", 200, nullptr, nullptr, text},
        {"GET",    "/metrics",      read, quick, Body::none, system::metrics, "Figures in Prometheus' text format", 200, nullptr, nullptr, text},
        {"GET",    "/openapi.json", read, quick, Body::none, system::openapi_document, "This interface as OpenAPI 3.1", 200, nullptr, any},
        {"GET",    "/api/plugins",  read, quick, Body::none, system::plugins, "Runtimes: loaded and refused plugins", 200, nullptr, any},
        {"GET",    "/api/events",   read, stream, Body::none, system::events, "What happens, as server-sent events", 200, nullptr, nullptr, "text/event-stream", {{"after", "integer", "id of the last event seen"}}},
        {"GET",    "/api/operations",             read,   quick, Body::none, system::operations, "Operations, newest first", 200, nullptr, system::operations_schema, "application/json", {{"limit", "integer", "1 to 1000"}}},
        {"GET",    "/api/operations/{id}",        read,   quick, Body::none, system::operation, "One operation", 200, nullptr, system::operation_schema},
        {"POST",   "/api/operations/{id}/cancel", manage, quick, Body::json, system::cancel_operation, "End an operation and roll it back", 202, nullptr, system::operation_schema},
        {"GET",    "/api/tokens",      admin, quick, Body::none, system::tokens, "Bearer tokens", 200, nullptr, any},
        {"POST",   "/api/tokens",      admin, quick, Body::json_required, system::create_token, "Make a bearer token; shown this once", 201, system::create_token_schema, any},
        {"DELETE", "/api/tokens/{id}", admin, quick, Body::none, system::revoke_token, "Revoke a bearer token", 200, nullptr, any},

        {"POST",   "/api/vms",                  manage, waiting, Body::json_required, vms::create, "Create and start an instance", 201, vms::create_schema, vms::object_schema},
        {"GET",    "/api/vms",                  read,   quick,   Body::none, vms::list, "Instances, ordered by created_at", 200, nullptr, vms::objects_schema, "application/json", list_query()},
        {"GET",    "/api/vms/{name}",           read,   quick,   Body::none, vms::get, "One instance", 200, nullptr, vms::object_schema},
        {"DELETE", "/api/vms/{name}",           manage, waiting, Body::none, vms::destroy, "Destroy an instance", 200, nullptr, any},
        {"POST",   "/api/vms/{name}/start",     manage, waiting, Body::json, vms::start, "Start it", 200, nullptr, vms::object_schema},
        {"POST",   "/api/vms/{name}/stop",      manage, waiting, Body::json, vms::stop, "Stop it", 200, vms::stop_schema, vms::object_schema},
        {"POST",   "/api/vms/{name}/restart",   manage, waiting, Body::json, vms::restart, "Stop and start it", 200, vms::stop_schema, vms::object_schema},
        {"POST",   "/api/vms/{name}/pause",     manage, waiting, Body::json, vms::pause, "Freeze it", 200, nullptr, vms::object_schema},
        {"POST",   "/api/vms/{name}/resume",    manage, waiting, Body::json, vms::resume, "Thaw it", 200, nullptr, vms::object_schema},
        {"POST",   "/api/vms/{name}/resize",    manage, waiting, Body::json_required, vms::resize, "Change its CPUs, memory or disk", 200, schema_of<ResizeSpec>, vms::object_schema},
        {"POST",   "/api/vms/{name}/rename",    manage, waiting, Body::json_required, vms::rename, "Give it another name", 200, vms::new_name_schema, vms::object_schema},
        {"POST",   "/api/vms/{name}/copy",      manage, waiting, Body::json_required, vms::copy, "Make another one like it, disk included", 201, vms::new_name_schema, vms::object_schema},
        {"POST",   "/api/vms/{name}/exec",      exec,   command, Body::json_required, api::exec, "Run a command in it", 200, exec_request_schema, exec_reply_schema},
        {"GET",    "/api/vms/{name}/exec",      exec,   command, Body::none, exec_stream, "Run a command in it over a WebSocket (subprotocol minions.exec.v1)", 101},
        {"GET",    "/api/vms/{name}/status",    read,   waiting, Body::none, vms::status, "What the inside of it reports", 200, nullptr, vms::stats_schema},
        {"GET",    "/api/vms/{name}/logs",      read,   stream,  Body::none, vms::logs, "Its console", 200, nullptr, nullptr, text, log_query},
        {"GET",    "/api/vms/{name}/diagnosis", read,   quick,   Body::none, vms::diagnosis, "Why its last create failed", 200, nullptr, any},
        {"GET",    "/api/vms/{name}/files",     exec,   stream,  Body::none, vms::read_files, "A file or directory of it, as tar", 200, nullptr, nullptr, tar, path_query},
        {"PUT",    "/api/vms/{name}/files",     exec,   stream,  Body::raw,  vms::write_files, "Unpack a tar stream in it", 200, nullptr, any, "application/json", path_query},
        {"GET",    "/api/vms/{name}/snapshots", read,   waiting, Body::none, vms::snapshots, "Its snapshots", 200, nullptr, vms::snapshots_schema},
        {"POST",   "/api/vms/{name}/snapshots", manage, waiting, Body::json_required, vms::create_snapshot, "Take a snapshot", 201, schema_of<SnapshotSpec>, schema_of<SnapshotInfo>},
        {"POST",   "/api/vms/{name}/snapshots/{snapshot}/restore", manage, waiting, Body::json, vms::restore_snapshot, "Put it back to a snapshot", 200, nullptr, vms::object_schema},
        {"DELETE", "/api/vms/{name}/snapshots/{snapshot}",         manage, waiting, Body::none, vms::delete_snapshot, "Delete a snapshot", 200, nullptr, any},

        {"GET",    "/api/images",        read,   quick,   Body::none, images::list, "VM images", 200, nullptr, images::objects_schema},
        {"POST",   "/api/images",        manage, waiting, Body::raw, images::import, "Make an image of a disk (raw, qcow2) or of an archive of a root file system", 201, nullptr, images::object_schema, "application/json", import_query},
        {"POST",   "/api/images/build",  manage, waiting, Body::json_required, images::build, "Build an image from packages", 201, images::build_schema, images::object_schema},
        {"GET",    "/api/images/{name}", read,   quick,   Body::none, images::get, "One image, with what went into it", 200, nullptr, images::object_schema},
        {"DELETE", "/api/images/{name}", manage, waiting, Body::none, images::remove, "Delete an image that no VM uses", 200, nullptr, any},

        {"POST",   "/api/v1/vm/deploy",                  manage, waiting, Body::json_required, v1::deploy, "Deploy a git repository as a container", 200, v1::deploy_schema, v1::container_schema},
        {"GET",    "/api/v1/vm/list",                    read,   quick,   Body::none, v1::list, "Deployed containers", 200, nullptr, v1::containers_schema, "application/json", {{"all", "boolean", "also those that have stopped"}}},
        {"POST",   "/api/v1/vm/stop",                    manage, waiting, Body::json_required, v1::stop, "Stop, and remove, a deployed container", 200, v1::stop_schema, any},
        {"GET",    "/api/v1/vm/health/{container_name}", read,   waiting, Body::none, v1::health, "Health of a deployed container", 200, nullptr, any, "application/json", {{"path", "string", "path of the HTTP probe, /health"}}},
        {"GET",    "/api/v1/vm/deployments",             read,   quick,   Body::none, v1::deployments, "Deploy calls, newest first", 200, nullptr, any, "application/json", {{"agent_name", "string", "of that agent only"}, {"limit", "integer", "1 to 1000"}}},
        {"GET",    "/api/v1/vm/deployments/{id}",        read,   quick,   Body::none, v1::deployment, "One deploy call", 200, nullptr, any},
        {"GET",    "/api/v1/vm/deployments/{id}/log",    read,   stream,  Body::none, v1::log, "Its log: clone, build, start", 200, nullptr, nullptr, text, {{"follow", "boolean", "go on as more comes"}}},
    };
    // clang-format on
}

}  // namespace

const std::vector<ApiRoute>& routes() {
    static const std::vector<ApiRoute> table = make_routes();
    return table;
}

}  // namespace minions::core::api
