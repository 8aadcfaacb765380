#include "core/http/errors.hpp"
#include "core/http/router.hpp"

#include <minions/error.hpp>

#include <catch2/catch.hpp>

#include <set>
#include <stdexcept>

using namespace minions;
using namespace minions::core::http;

namespace {

Route row(std::string_view method, std::string_view pattern) {
    return {
        method, pattern, Permission::read, Lane::quick, BodyKind::none, 0, [](Request&) { return Reply{}; }};
}

Router sample() {
    std::vector<Route> routes;
    routes.push_back(row("GET", "/api/vms/{name}"));
    routes.push_back(row("GET", "/api/vms/all"));
    routes.push_back(row("DELETE", "/api/vms/{vm}"));
    routes.push_back(row("POST", "/api/vms/{name}/exec"));
    routes.push_back(row("GET", "/"));
    return Router(std::move(routes));
}

}  // namespace

TEST_CASE("a literal segment wins over a parameter") {
    const Router router = sample();
    Request literal("GET", "/api/vms/all");
    REQUIRE(router.match(literal).route != nullptr);
    CHECK(literal.route == "/api/vms/all");
    Request parameter("GET", "/api/vms/other");
    REQUIRE(router.match(parameter).route != nullptr);
    CHECK(parameter.param("name") == "other");
    CHECK_THROWS_AS(parameter.param("vm"), std::logic_error);
    Request other("DELETE", "/api/vms/x");
    REQUIRE(router.match(other).route != nullptr);
    CHECK(other.param("vm") == "x");
    Request root("GET", "/");
    CHECK(router.match(root).route != nullptr);
}

TEST_CASE("parameters are decoded after the path is split") {
    const Router router = sample();
    Request request("GET", "/api/vms/a%2Fb%20c%c3%a4");
    REQUIRE(router.match(request).route != nullptr);
    CHECK(request.param("name") == "a/b cä");
    Request split("GET", "/api/vms/a/b");
    CHECK(router.match(split).route == nullptr);
    for (const char* path :
         {"/api/vms/", "/api/vms", "/api//vms/a", "/api/vms/a/", "/api/vms/a/../b", "/API/vms/a"}) {
        INFO(path);
        Request missing("GET", path);
        const auto match = router.match(missing);
        CHECK((match.route == nullptr && match.allow.empty()));
    }
}

TEST_CASE("other methods are told which there are") {
    const Router router = sample();
    Request put("PUT", "/api/vms/x");
    CHECK(router.match(put).allow == "DELETE, GET, HEAD, OPTIONS");
    Request get("GET", "/api/vms/x/exec");
    CHECK(router.match(get).allow == "OPTIONS, POST");
    Request head("HEAD", "/api/vms/x");
    CHECK(router.match(head).route != nullptr);
    CHECK(router.all_methods() == "DELETE, GET, HEAD, OPTIONS, POST");
}

TEST_CASE("mistakes in the table are seen at start") {
    const auto build = [](std::vector<Route> routes) { Router router(std::move(routes)); };
    CHECK_THROWS_AS(build({row("GET", "/a/{x}"), row("GET", "/a/{y}")}), std::logic_error);
    CHECK_THROWS_AS(build({row("GET", "a")}), std::logic_error);
    Route empty = row("GET", "/");
    empty.handler = nullptr;
    CHECK_THROWS_AS(build({empty}), std::logic_error);
    Route raw = row("PUT", "/");
    raw.body = BodyKind::raw;
    CHECK_THROWS_AS(build({raw}), std::logic_error);
}

TEST_CASE("queries are decoded, and refused where they are ambiguous") {
    Request request("GET", "/x?a=1+2&b=%26&c&d=&&e=f=g");
    CHECK(*request.query("a") == "1 2");
    CHECK(*request.query("b") == "&");
    CHECK(request.query("c")->empty());
    CHECK(request.query("d")->empty());
    CHECK(*request.query("e") == "f=g");
    CHECK(request.query("f") == nullptr);
    for (const char* target :
         {"/x?a=1&a=2", "/x?a=%zz", "/x?a=%4", "/x?a=%", "/x?a=%00", "/x?a=%ff", "/%00", "/%c0%af", "/%2"}) {
        INFO(target);
        CHECK_THROWS_AS(Request("GET", target), Error);
    }
}

TEST_CASE("each code has its status") {
    CHECK(status_of(Code::invalid) == 400);
    CHECK(status_of(Code::idempotency_mismatch) == 409);
    CHECK(status_of(Code::misdirected) == 421);
    CHECK(status_of(Code::headers_too_large) == 431);
    CHECK(status_of(Code::failed) == 502);
    CHECK(status_of(Code::no_space) == 507);
    CHECK(status_of(static_cast<Code>(1000)) == 500);
}

TEST_CASE("errors have the shape of their part of the API") {
    const Error busy =
        Error(Code::busy, "VM 'a' is busy", "wait").with("operation", "op1").with("error", "no");
    CHECK(error_body("/api/vms/a", busy) ==
          R"({"error":"VM 'a' is busy","code":"busy","hint":"wait","operation":"op1"})");
    CHECK(error_body("/api/v1/vms", Error(Code::not_found, "x")) == R"({"error":"x","code":"not_found"})");
    for (const char* path : {"/api/v1/vm", "/api/v1/vm/deploy"}) {
        CHECK(error_body(path, Error(Code::not_found, "No such agent")) == R"({"detail":"No such agent"})");
        CHECK(error_body(path, Error(Code::failed, "the build failed").with("stage", "build")) ==
              R"({"detail":"deployment_failed","message":"the build failed","stage":"build"})");
    }
}
