#pragma once

#include "core/http/router.hpp"

#include <minions/value.hpp>

#include <string_view>
#include <vector>

namespace minions::core::api {

struct Services;

/// A query parameter of a route.
struct QueryDoc {
    std::string_view name;
    std::string_view type;  ///< of JSON Schema
    std::string_view doc;
};

using ApiHandler = http::Reply (*)(Services&, http::Request&);

/// One row of the table of routes: what the router needs and what /openapi.json says, so that the two cannot
/// disagree.
struct ApiRoute {
    std::string_view method;
    std::string_view pattern;
    http::Permission permission;
    http::Lane lane;
    http::BodyKind body;
    ApiHandler handler;
    std::string_view summary;
    int success = 200;
    Value (*request)() = nullptr;   ///< JSON Schema of the body; null: an object without members, if any
    Value (*response)() = nullptr;  ///< JSON Schema of the successful reply; null: none, or other media
    std::string_view media = "application/json";
    std::vector<QueryDoc> query = {};
};

/// The rows with their handlers bound to `services`; both must outlive the router. Query parameters that a
/// row does not name, and members of a body that it does not describe, are refused here.
std::vector<http::Route> bind_routes(const std::vector<ApiRoute>& table, Services& services);

/// The OpenAPI 3.1 document of the table.
Value openapi(const std::vector<ApiRoute>& table, std::string_view version);

}  // namespace minions::core::api
