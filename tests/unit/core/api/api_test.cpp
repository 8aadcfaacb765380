#include "tests/unit/core/api/api.hpp"

using namespace minions;
using namespace minions::core::test;

TEST_CASE("an instance lives through its states over HTTP") {
    Api api;
    const Value made = api.create("a", {{"cpus", 1}, {"labels", Value::object({{"team", "red"}})}});
    CHECK(made["name"] == Value("a"));
    CHECK(made["status"] == Value("running"));
    CHECK(made["cpus"] == Value(1));
    CHECK(made["memory_mb"] == Value(1024));
    CHECK(api.json("GET", "/api/vms/a", 200) == made);
    CHECK(api.json("GET", "/api/vms", 200) == Value::array({made}));

    CHECK(api.json("POST", "/api/vms/a/pause", 200)["status"] == Value("paused"));
    CHECK(api.json("POST", "/api/vms/a/resume", 200)["status"] == Value("running"));
    CHECK(api.json("POST", "/api/vms/a/resize", 200, Value::object({{"cpus", 4}}))["cpus"] == Value(4));
    CHECK(api.json("POST", "/api/vms/a/rename", 200, Value::object({{"new_name", "b"}}))["name"] ==
          Value("b"));
    CHECK(api.json("POST", "/api/vms/b/stop", 200)["status"] == Value("stopped"));
    CHECK(api.json("POST", "/api/vms/b/stop", 409)["code"] == Value("wrong_state"));
    CHECK(api.json("POST", "/api/vms/b/start", 200)["status"] == Value("running"));
    CHECK(api.json("POST", "/api/vms/b/restart", 200)["status"] == Value("running"));
    CHECK(api.json("DELETE", "/api/vms/b", 200) == Value::object({{"message", "VM 'b' destroyed"}}));
    CHECK(api.json("GET", "/api/vms/b", 404)["error"] == Value("VM 'b' not found"));
    CHECK(api.json("GET", "/api/vms", 200) == Value::array());
}

TEST_CASE("exec tells exit code and streams apart") {
    Api api;
    api.create("a");
    const auto run = [&](Value body) { return api.json("POST", "/api/vms/a/exec", 200, body); };
    Value reply = run(Value::object({{"command", "echo"}, {"args", Value::array({"hi", "there"})}}));
    CHECK(reply == Value::object({{"exit_code", 0}, {"stdout", "hi there\n"}, {"stderr", ""}}));
    CHECK(run(Value::object({{"command", "exit"}, {"args", Value::array({"7"})}}))["exit_code"] == Value(7));
    CHECK(run(Value::object({{"command", "cat"}, {"stdin", "in"}}))["stdout"] == Value("in"));
    reply = run(Value::object({{"command", "nosuch"}}));
    CHECK(reply["exit_code"] == Value(127));
    CHECK(reply["stderr"].string_or("").find("nosuch") != std::string::npos);

    SECTION("binary output is told apart") {
        reply = run(Value::object({{"command", "cat"}, {"stdin", "/w=="}, {"stdin_encoding", "base64"}}));
        CHECK(reply["stdout"] == Value("/w=="));
        CHECK(reply["stdout_encoding"] == Value("base64"));
    }
    SECTION("output past the limit is cut, and says so") {
        api.output_bytes = 3;
        reply = run(Value::object({{"command", "echo"}, {"args", Value::array({"12345"})}}));
        CHECK(reply["stdout"] == Value("123"));
        CHECK(reply["truncated"] == Value(true));
    }
    SECTION("a character that is cut is left out, and the text stays text") {
        for (const auto& [limit, text] :
             {std::pair(2, "a"), {3, "a\u00e9"}, {5, "a\u00e9"}, {6, "a\u00e9\u20ac"}}) {
            api.output_bytes = static_cast<std::size_t>(limit);
            reply = run(Value::object({{"command", "echo"}, {"args", Value::array({"a\u00e9\u20ac"})}}));
            CHECK(reply["stdout"] == Value(text));
            CHECK(reply.find("stdout_encoding") == nullptr);
            CHECK(reply["truncated"] == Value(true));
        }
    }
    SECTION("a deadline answers 504 with what came until then") {
        reply = api.json(
            "POST", "/api/vms/a/exec", 504,
            Value::object({{"command", "sleep"}, {"args", Value::array({"60"})}, {"timeout_seconds", 0.05}}));
        CHECK(reply["code"] == Value("deadline"));
        CHECK(reply["exit_code"].is_null());
        CHECK(reply["stdout"] == Value(""));
    }
    SECTION("a name that cannot be one is refused first") {
        reply = api.json("POST", "/api/vms/A/exec", 400, Value::object({{"command", "true"}}));
        CHECK(reply["error"].string_or("").find("name") != std::string::npos);
    }
}

TEST_CASE("bad requests name the field and the cure") {
    Api api;
    const auto refused = [&](Value body) { return api.json("POST", "/api/vms", 400, body); };
    Value reply = refused(Value::object({{"name", "a"}, {"image", "any"}, {"memroy_mb", 1}}));
    CHECK(reply["error"] == Value("field 'memroy_mb' is unknown"));
    CHECK(reply["hint"] == Value("did you mean 'memory_mb'?"));
    CHECK(refused(Value::object({{"name", "a"}, {"cpus", 0}}))["error"] ==
          Value("field 'cpus' must be between 1 and 512"));
    CHECK(refused(Value::object({{"image", "any"}}))["error"] == Value("field 'name' is required"));
    reply = api.json("GET", "/api/vms?lable=a", 400);
    CHECK(reply["hint"] == Value("did you mean 'label'?"));
    CHECK(api.json("POST", "/api/vms/a/resize", 400, Value::object())["error"] == Value("nothing to resize"));
    CHECK(api.call("POST", "/api/vms", {}, {{"Content-Length", "0"}}).status == 400);
    api.create("a");
    CHECK(api.json("POST", "/api/vms", 409, Value::object({{"name", "a"}, {"image", "any"}}))["code"] ==
          Value("conflict"));
}

TEST_CASE("the list pages and filters") {
    Api api;
    for (const char* name : {"a", "b", "c"}) {
        api.create(name, {{"labels", Value::object({{"which", name}})}});
    }
    auto page = api.call("GET", "/api/vms?limit=2");
    CHECK(parse_json(page.body).if_array()->size() == 2);
    const std::string link(page.header("Link"));
    REQUIRE(link.find("; rel=\"next\"") != std::string::npos);
    page = api.call("GET", link.substr(1, link.find('>') - 1));
    CHECK(parse_json(page.body).if_array()->size() == 1);
    CHECK(page.header("Link").empty());
    CHECK(api.json("GET", "/api/vms?label=which=b", 200).if_array()->size() == 1);
    CHECK(api.json("GET", "/api/vms?status=stopped", 200) == Value::array());
    CHECK(api.json("GET", "/api/vms?status=wrong", 400)["error"].string_or("").find("status") !=
          std::string::npos);
}

TEST_CASE("respond-async answers with the operation, and an idempotency key with the first outcome") {
    Api api;
    const Value body = Value::object({{"name", "a"}, {"image", "any"}});
    const auto reply =
        api.call("POST", "/api/vms", body, {{"Prefer", "wait=1, Respond-Async"}, {"Idempotency-Key", "k"}});
    REQUIRE(reply.status == 202);
    const std::string location(reply.header("Location"));
    CHECK(location == "/api/operations/" + parse_json(reply.body)["id"].string_or(""));
    const auto again = api.call("POST", "/api/vms", body, {{"Idempotency-Key", "k"}});
    CHECK(again.status == 201);
    const Value operation = api.json("GET", location, 200);
    CHECK(operation["status"] == Value("succeeded"));
    CHECK(operation["result"] == parse_json(again.body));
    const Value other = Value::object({{"name", "b"}, {"image", "any"}});
    CHECK(api.call("POST", "/api/vms", other, {{"Idempotency-Key", "k"}}).status == 409);
}

TEST_CASE("an operation can be cancelled, and a failed create is told by its diagnosis") {
    Api api;
    const Value slow = Value::object(
        {{"name", "a"}, {"image", "any"}, {"labels", Value::object({{"null.delay_ms.start", "60000"}})}});
    const auto started = api.call("POST", "/api/vms", slow, {{"Prefer", "respond-async"}});
    REQUIRE(started.status == 202);
    const std::string id = parse_json(started.body)["id"].string_or("");
    CHECK(api.json("POST", "/api/operations/" + id + "/cancel", 202)["id"] == Value(id));
    CHECK_THROWS(api.world.operations.find(id)->wait());
    CHECK(api.json("GET", "/api/operations/" + id, 200)["status"] == Value("cancelled"));
    api.json("GET", "/api/vms/a", 404);
    CHECK(api.json("GET", "/api/vms/a/diagnosis", 200)["operation"] == Value(id));
}

TEST_CASE("logs come whole and by tail, files go in and out as tar") {
    Api api;
    api.create("a", {{"command", Value::array({"echo", "one line"})}});
    CHECK(api.call("GET", "/api/vms/a/logs").body.find("one line") != std::string::npos);
    CHECK(api.call("GET", "/api/vms/a/logs?tail=0").body.empty());
    CHECK(api.call("GET", "/api/vms/a/logs?tail=x").status == 400);
    CHECK(api.call("GET", "/api/vms/nosuch/logs").status == 404);
    CHECK(api.call("HEAD", "/api/vms/nosuch/logs").status == 404);
    CHECK(api.call("HEAD", "/api/vms/a/logs").status == 200);
    CHECK(api.call("GET", "/api/vms/a/files?path=relative").status == 400);
    CHECK(api.call("GET", "/api/vms/a/files?path=/nosuch").status == 404);
}

TEST_CASE("events replay from an id and go on live") {
    Api api;
    api.create("a");
    http::Request request{"GET", "/api/events", {{"Last-Event-ID", "0"}}};
    auto stream = api.client.open(request, {deadline_in(std::chrono::seconds(10))});
    CHECK(stream.head().status == 200);
    std::string seen;
    char buffer[4096];
    const auto read_until = [&](std::string_view what) {
        while (seen.find(what) == std::string::npos) {
            const std::size_t got = stream.read(buffer, sizeof buffer);
            REQUIRE(got > 0);
            seen.append(buffer, got);
        }
    };
    read_until("event: instance.running");
    CHECK(seen.starts_with("id: 1\n"));
    api.json("DELETE", "/api/vms/a", 200);
    read_until("event: instance.destroyed");
    CHECK(api.call("GET", "/api/events?after=x").status == 400);

    // A browser that reconnects repeats its address, and tells how far it came.
    request = {"GET", "/api/events?after=0", {{"Last-Event-ID", "2"}}};
    auto again = api.client.open(request, {deadline_in(std::chrono::seconds(10))});
    const std::size_t got = again.read(buffer, sizeof buffer);
    CHECK(std::string(buffer, got).starts_with("id: 3\n"));
}

TEST_CASE("a token is shown once, listed without itself, and revoked") {
    Api api;
    const Value made =
        api.json("POST", "/api/tokens", 201, Value::object({{"name", "ci"}, {"scope", "read"}}));
    CHECK(made["token"].string_or("").starts_with("mn_"));
    const Value listed = api.json("GET", "/api/tokens", 200);
    REQUIRE(listed.if_array()->size() == 1);
    CHECK(listed.if_array()->front().find("token") == nullptr);
    CHECK(listed.if_array()->front()["last4"].string_or("").size() == 4);
    const std::string path = "/api/tokens/" + made["id"].string_or("");
    api.json("DELETE", path, 200);
    api.json("DELETE", path, 404);
    api.json("POST", "/api/tokens", 400, Value::object({{"name", "ci"}, {"scope", "root"}}));
}

TEST_CASE("the daemon's own resources answer") {
    Api api;
    CHECK(api.call("GET", "/healthz").body == "ok\n");
    CHECK(api.call("GET", "/readyz").status == 200);
    api.not_ready = "the store is away";
    CHECK(api.call("GET", "/readyz").status == 503);
    CHECK(api.call("GET", "/metrics").body == "minions_up 1\n");
    CHECK(api.json("GET", "/openapi.json", 200)["openapi"] == Value("3.1.0"));
    api.json("GET", "/api/operations/nosuch", 404);
    CHECK(api.call("GET", "/api/nosuch").status == 404);
}

TEST_CASE("a deployment goes through the document's four routes") {
    Api api;
    const auto request = api.world.request();
    const Value body = Value::object({{"repo_url", request.repo_url},
                                      {"agent_name", "agent"},
                                      {"startup_cmd", Value::array({"serve"})},
                                      {"environment", Value::object({{"API_KEY", "canary"}})}});
    const Value made = api.json("POST", "/api/v1/vm/deploy", 200, body);
    CHECK(made["status"] == Value("running"));
    CHECK(made["ports"].find("8080/tcp") != nullptr);
    const std::string name = made["container_name"].string_or("");
    CHECK(name.starts_with("jules-agent-agent-"));
    const Value listed = api.json("GET", "/api/v1/vm/list", 200);
    REQUIRE(listed.if_array()->size() == 1);
    CHECK(listed.if_array()->front()["container_id"] == made["container_id"]);
    CHECK(api.json("GET", "/api/v1/vm/health/" + name, 200)["container_status"] == Value("running"));
    const Value history = api.json("GET", "/api/v1/vm/deployments", 200);
    REQUIRE(history.if_array()->size() == 1);
    const std::string id = history.if_array()->front()["deployment_id"].string_or("");
    CHECK(to_json(history).find("canary") == std::string::npos);
    CHECK(api.call("GET", "/api/v1/vm/deployments/" + id + "/log?follow=1").body.find("deployed") !=
          std::string::npos);
    const Value wanted = Value::object({{"container_name", name}});
    const auto stopping = api.call("POST", "/api/v1/vm/stop", wanted,
                                   {{"Prefer", "respond-async"}, {"Idempotency-Key", "stop"}});
    REQUIRE(stopping.status == 202);
    const std::string operation = parse_json(stopping.body)["id"].string_or("");
    const Value stopped = Value::object({{"stopped", name}, {"removed", true}});
    CHECK(parse_json(api.call("POST", "/api/v1/vm/stop", wanted, {{"Idempotency-Key", "stop"}}).body) ==
          stopped);
    CHECK(api.json("GET", "/api/operations/" + operation, 200)["result"] == stopped);
    CHECK(api.world.null.instance_count() == 0);
    CHECK(
        api.json("POST", "/api/v1/vm/stop", 404, Value::object({{"container_name", name}})).find("detail") !=
        nullptr);
    CHECK(api.json("GET", "/api/v1/vm/health/A", 400).find("detail") != nullptr);

    api.world.runtimes.healthy = false;
    CHECK(api.json("GET", "/api/v1/vm/list", 501)["detail"].string_or("").find("null") != std::string::npos);
}
