#include "tests/unit/core/api/api.hpp"

#include <set>
#include <string>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;

TEST_CASE("the OpenAPI document that is served has every route that is served and no other") {
    const Api api;
    const Value document = api.json("GET", "/openapi.json", 200);
    CHECK(document["info"]["version"] == Value("1.2.3"));
    std::set<std::string> documented;
    for (const auto& [path, methods] : *document["paths"].if_object()) {
        for (const auto& [method, operation] : *methods.if_object()) documented.insert(method + " " + path);
    }
    std::set<std::string> routed;
    for (const auto& route : api.server.router().routes()) {
        std::string method(route.method);
        for (char& c : method) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        routed.insert(method + " " + std::string(route.pattern));
    }
    CHECK(documented == routed);
    CHECK(routed.size() > 30);
}

TEST_CASE("headers that a request may have are described, and the reply that an operation is under way") {
    const Value document = api::openapi(api::routes(), "1");
    const auto headers = [&](const char* path, const char* method) {
        std::set<std::string> names;
        const Value& parameters = document["paths"][path][method]["parameters"];
        if (parameters.if_array() == nullptr) return names;
        for (const auto& one : *parameters.if_array()) {
            if (one["in"] == Value("header")) names.insert(one["name"].string_or(""));
        }
        return names;
    };
    const std::set<std::string> of_operations{"Idempotency-Key", "Prefer"};
    for (const char* path : {"/api/vms", "/api/vms/{name}/stop", "/api/v1/vm/deploy", "/api/v1/vm/stop"}) {
        CAPTURE(path);
        CHECK(headers(path, "post") == of_operations);
        const Value& under_way = document["paths"][path]["post"]["responses"]["202"];
        CHECK(under_way["content"]["application/json"]["schema"]["properties"].find("stage") != nullptr);
    }
    CHECK(headers("/api/vms/{name}", "delete") == of_operations);
    CHECK(headers("/api/vms/{name}/exec", "post").empty());
    CHECK(headers("/api/vms", "get").empty());
    CHECK(headers("/api/events", "get") == std::set<std::string>{"Last-Event-ID"});
}

TEST_CASE("every member of an instance has a type") {
    const Value document = api::openapi(api::routes(), "1");
    const Value& instance = document["paths"]["/api/vms/{name}"]["get"]["responses"]["200"]["content"]
                                    ["application/json"]["schema"];
    REQUIRE(instance["properties"].if_object() != nullptr);
    for (const auto& [name, schema] : *instance["properties"].if_object()) {
        CAPTURE(name);
        CHECK(schema.find("type") != nullptr);
    }
    CHECK(instance["properties"]["ip"]["type"] == Value::array({"string", "null"}));
    CHECK(instance["properties"]["cpus"]["type"] == Value::array({"integer", "null"}));
    CHECK(instance["properties"]["ports"]["type"] == Value("object"));
}

TEST_CASE("operation ids are unique, and every path parameter is described") {
    const Value document = api::openapi(api::routes(), "1");
    std::set<std::string> ids;
    for (const auto& [path, methods] : *document["paths"].if_object()) {
        for (const auto& [method, operation] : *methods.if_object()) {
            CAPTURE(method, path);
            CHECK(ids.insert(operation["operationId"].string_or("")).second);
            CHECK_FALSE(operation["summary"].string_or("").empty());
            std::size_t described = 0;
            if (const auto* parameters = operation["parameters"].if_array()) {
                for (const auto& one : *parameters) described += one["in"] == Value("path") ? 1 : 0;
            }
            CHECK(described == static_cast<std::size_t>(std::count(path.begin(), path.end(), '{')));
        }
    }
}

TEST_CASE("bodies are described by the fields that decoding uses") {
    const Value document = api::openapi(api::routes(), "1");
    const Value& create =
        document["paths"]["/api/vms"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    CHECK(create["required"] == Value::array({"name"}));
    for (const char* field :
         {"name", "runtime", "image", "cpus", "memory_mb", "command", "environment", "labels"}) {
        CAPTURE(field);
        CHECK(create["properties"].find(field) != nullptr);
    }
    const Value& deploy =
        document["paths"]["/api/v1/vm/deploy"]["post"]["requestBody"]["content"]["application/json"];
    CHECK(deploy["schema"]["required"] == Value::array({"repo_url", "agent_name"}));
}
