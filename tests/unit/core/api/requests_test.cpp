#include "tests/unit/core/api/api.hpp"

using namespace minions;
using namespace minions::core::test;

namespace {

/// The pattern with a value in place of each parameter.
std::string target_of(const core::http::Route& route) {
    std::string target(route.pattern);
    for (auto open = target.find('{'); open != std::string::npos; open = target.find('{'))
        target.replace(open, target.find('}', open) - open + 1, "a");
    return target;
}

}  // namespace

TEST_CASE("no route ignores a query parameter that it does not know") {
    Api api;
    for (const auto& route : api.server.router().routes()) {
        CAPTURE(route.method, route.pattern);
        const bool wants_body = route.body == core::http::BodyKind::json_required;
        const auto reply = api.call(std::string(route.method), target_of(route) + "?nosuch=1",
                                    wants_body ? Value::object() : Value());
        CHECK(reply.status == 400);
        CHECK(reply.body.find("query parameter 'nosuch' is unknown") != std::string::npos);
    }
    CHECK(api.json("GET", "/api/operations?limti=1", 400)["hint"] == Value("did you mean 'limit'?"));
}

TEST_CASE("no route ignores a body that it has no use for") {
    Api api;
    std::size_t routes = 0;
    for (const auto& row : core::api::routes()) {
        if (row.body != core::http::BodyKind::json || row.request != nullptr) continue;
        ++routes;
        CAPTURE(row.method, row.pattern);
        const std::string target =
            target_of({row.method, row.pattern, row.permission, row.lane, row.body, 0, {}});
        const Value wrong = api.json("POST", target, 400, Value::object({{"forse", true}}));
        CHECK(wrong["error"] == Value("field 'forse' is unknown"));
        http::Request broken{"POST", target, {{"Content-Type", "application/json"}}};
        broken.body = "{{{";
        CHECK(api.client.request(broken, {deadline_in(std::chrono::seconds(20))}).status == 400);
    }
    CHECK(routes > 3);
    api.create("a");
    api.json("POST", "/api/vms/a/pause", 200, Value::object());
}

TEST_CASE("a misspelt field is told before the one that is missing because of it") {
    Api api;
    api.create("a");
    const Value reply = api.json("POST", "/api/vms/a/exec", 400, Value::object({{"comand", "true"}}));
    CHECK(reply["error"] == Value("field 'comand' is unknown"));
    CHECK(reply["hint"] == Value("did you mean 'command'?"));
}
