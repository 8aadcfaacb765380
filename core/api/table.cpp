#include "core/api/table.hpp"

#include "core/api/helpers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>

namespace minions::core::api {
namespace {

std::string_view scope_word(http::Permission permission) {
    switch (permission) {
        case http::Permission::read:
            return "read";
        case http::Permission::exec:
            return "exec";
        case http::Permission::manage:
            return "manage";
        case http::Permission::admin:
            return "admin";
        case http::Permission::none:
            break;
    }
    return "none";
}

std::vector<std::string_view> parameters_in(std::string_view pattern) {
    std::vector<std::string_view> names;
    for (auto open = pattern.find('{'); open != std::string_view::npos; open = pattern.find('{', open + 1)) {
        names.push_back(pattern.substr(open + 1, pattern.find('}', open) - open - 1));
    }
    return names;
}

/// A JSON body of a route that has no use for one: empty, or an object without members.
struct Nothing {
    template <class Self, class Visit>
    static void fields(Self&, Visit&&) {}
};

/// Throws Error{invalid} naming the parameter and its nearest neighbour.
void refuse_unknown_queries(const http::Request& request, const std::vector<QueryDoc>& known) {
    std::vector<std::string_view> names;
    for (const auto& query : known) names.push_back(query.name);
    for (const auto& [name, value] : request.queries()) {
        if (std::find(names.begin(), names.end(), name) != names.end()) continue;
        const auto near = nearest_word(name, names);
        throw Error(Code::invalid, fmt::format("query parameter '{}' is unknown", name.substr(0, 64)),
                    !near.empty()   ? fmt::format("did you mean '{}'?", near)
                    : names.empty() ? "this route takes none"
                                    : fmt::format("it takes {}", fmt::join(names, ", ")));
    }
}

/// What changes something, and may wait for it, is an operation: see answer().
bool starts_operation(const ApiRoute& route) {
    return route.lane == http::Lane::waiting && route.permission == http::Permission::manage;
}

Value parameter(std::string_view name, std::string_view in, std::string_view type, std::string_view doc) {
    Value value = Value::object({{"name", name}, {"in", in}, {"required", in == "path"}});
    value.set("schema", Value::object({{"type", type}}));
    if (!doc.empty()) value.set("description", doc);
    return value;
}

Value content(std::string_view media, Value schema) {
    return Value::object({{std::string(media), Value::object({{"schema", std::move(schema)}})}});
}

/// "get_api_vms_name_logs": unique, since method and pattern are.
std::string operation_id(const ApiRoute& route) {
    std::string id;
    for (const char c : fmt::format("{}{}", route.method, route.pattern)) {
        if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
            id += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        } else if (!id.empty() && id.back() != '_') {
            id += '_';
        }
    }
    while (!id.empty() && id.back() == '_') id.pop_back();
    return id;
}

Value operation(const ApiRoute& route) {
    Value value = Value::object({{"operationId", operation_id(route)}, {"summary", route.summary}});
    Value list = Value::array();
    for (const auto name : parameters_in(route.pattern)) list.push(parameter(name, "path", "string", ""));
    for (const auto& query : route.query) list.push(parameter(query.name, "query", query.type, query.doc));
    if (starts_operation(route)) {
        list.push(parameter("Idempotency-Key", "header", "string",
                            "1 to 255 bytes; a repetition with the same body gets the first outcome"));
        list.push(
            parameter("Prefer", "header", "string", "respond-async: answer 202 with the operation at once"));
    }
    if (route.media == "text/event-stream") {
        list.push(parameter("Last-Event-ID", "header", "integer", "as `after`, which it overrides"));
    }
    if (!list.if_array()->empty()) value.set("parameters", std::move(list));
    if (route.request != nullptr) {
        value.set("requestBody", Value::object({{"required", route.body == http::BodyKind::json_required},
                                                {"content", content("application/json", route.request())}}));
    } else if (route.body == http::BodyKind::raw) {
        value.set("requestBody", Value::object({{"required", true},
                                                {"content", content("application/x-tar", Value::object())}}));
    }
    Value success = Value::object({{"description", "success"}});
    if (route.response != nullptr) {
        success.set("content", content(route.media, route.response()));
    } else if (route.media != "application/json") {
        success.set("content", content(route.media, Value::object({{"type", "string"}})));
    }
    Value responses = Value::object({{std::to_string(route.success), std::move(success)}});
    if (starts_operation(route)) {
        responses.set("202",
                      Value::object({{"description", "under way; Location is that of the operation"},
                                     {"content", content("application/json", schema_of<OperationRow>())}}));
    }
    const bool v1 = route.pattern.starts_with("/api/v1/");
    responses.set(
        "default",
        Value::object({{"description", "an error"},
                       {"content", content("application/json",
                                           Value::object({{"$ref", v1 ? "#/components/schemas/Detail"
                                                                      : "#/components/schemas/Error"}}))}}));
    value.set("responses", std::move(responses));
    if (route.permission == http::Permission::none) {
        value.set("security", Value::array());
    } else {
        value.set("x-minions-scope", scope_word(route.permission));
    }
    return value;
}

Value error_schemas() {
    const auto text = [](std::string_view doc) {
        return Value::object({{"type", "string"}, {"description", doc}});
    };
    Value error = Value::object({{"type", "object"}, {"required", Value::array({"error", "code"})}});
    error.set("properties", Value::object({{"error", text("a sentence that says what and which")},
                                           {"code", text("one word for programs")},
                                           {"hint", text("what to do about it")}}));
    Value detail = Value::object({{"type", "object"}, {"required", Value::array({"detail"})}});
    detail.set("properties", Value::object({{"detail", text("what is wrong")},
                                            {"stage", text("where a deployment failed")},
                                            {"message", text("why it failed")},
                                            {"deployment_id", text("for its log")}}));
    return Value::object({{"Error", std::move(error)}, {"Detail", std::move(detail)}});
}

}  // namespace

std::vector<http::Route> bind_routes(const std::vector<ApiRoute>& table, Services& services) {
    std::vector<http::Route> routes;
    routes.reserve(table.size());
    for (const auto& row : table) {
        auto handler = [&services, &row](http::Request& request) {
            refuse_unknown_queries(request, row.query);
            if (row.body == http::BodyKind::json && row.request == nullptr) body_of<Nothing>(request);
            return row.handler(services, request);
        };
        routes.push_back(
            {row.method, row.pattern, row.permission, row.lane, row.body, 0, std::move(handler)});
    }
    return routes;
}

Value openapi(const std::vector<ApiRoute>& table, std::string_view version) {
    Value paths = Value::object();
    for (const auto& route : table) {
        Value path = paths[route.pattern].is_null() ? Value::object() : paths[route.pattern];
        std::string method(route.method);
        for (char& c : method) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        path.set(method, operation(route));
        paths.set(route.pattern, std::move(path));
    }
    Value document = Value::object({{"openapi", "3.1.0"}});
    document.set("info", Value::object({{"title", "minions"},
                                        {"version", version},
                                        {"description", "Sandboxes for agents: microVMs and containers"}}));
    document.set("paths", std::move(paths));
    Value components = Value::object({{"schemas", error_schemas()}});
    components.set("securitySchemes",
                   Value::object({{"token", Value::object({{"type", "http"}, {"scheme", "bearer"}})}}));
    document.set("components", std::move(components));
    document.set("security", Value::array({Value::object({{"token", Value::array()}})}));
    return document;
}

}  // namespace minions::core::api
