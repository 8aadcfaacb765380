#include "tests/unit/cli/scripted_server.hpp"

#include <minions/value.hpp>

#include <catch2/catch.hpp>

using namespace minions;
using namespace minions::test;
using Catch::Contains;
using Catch::StartsWith;

namespace {
constexpr const char* accepted =
    R"({"id":"op1","kind":"deployment.deploy","subject":"dep1","status":"running"})";
constexpr const char* result =
    R"({"container_id":"c","container_name":"jules-agent-a-1","status":"running","ports":{"8080/tcp":32768}})";
}  // namespace

TEST_CASE("deploy shows the log while it builds, then the result") {
    ScriptedServer server(
        {{202, accepted},
         {200, "Cloning\nStep 1\n"},
         {200, accepted},
         {200, std::string(R"({"id":"op1","status":"succeeded","result":)") + result + "}"}});
    const auto done = run(server.address(), {"deploy", "https://h/r.git", "--name", "a", "--port", "9000",
                                             "--", "python", "-V"});
    CHECK(done.code == 0);
    CHECK(done.err == "Cloning\nStep 1\n");
    CHECK(done.out == "jules-agent-a-1 is running, ports 8080/tcp=32768\n");
    const auto requests = server.requests();
    CHECK_THAT(requests.at(0),
               StartsWith("POST /api/v1/vm/deploy ") && Contains("\r\nPrefer: respond-async\r\n"));
    CHECK(
        parse_json(requests.at(0).substr(requests.at(0).find("\r\n\r\n") + 4)) ==
        parse_json(
            R"({"repo_url":"https://h/r.git","agent_name":"a","expose_port":9000,"startup_cmd":["python","-V"]})"));
    CHECK_THAT(requests.at(1), StartsWith("GET /api/v1/vm/deployments/dep1/log?follow=1 "));
    CHECK_THAT(requests.at(3), StartsWith("GET /api/operations/op1 "));
}

TEST_CASE("deploy says why it failed") {
    ScriptedServer server(
        {{202, accepted},
         {200, ""},
         {200, R"({"id":"op1","status":"failed","stage":"building",
                                     "error":{"code":"failed","message":"pip found no such package","hint":"check it"}})"},
         {501, R"({"detail":"docker: no engine answers"})"},
         {502, R"({"detail":"deployment_failed","message":"it exited with 1","stage":"watching"})"}});
    const auto failed = run(server.address(), {"deploy", "https://h/r.git", "-n", "a"});
    CHECK(failed.code == 1);
    CHECK(failed.err == "error: building failed: pip found no such package\nhint: check it\n");
    CHECK(run(server.address(), {"deploy", "https://h/r.git", "-n", "a"}).err ==
          "error: docker: no engine answers\n");
    CHECK(run(server.address(), {"deploy", "https://h/r.git", "-n", "a"}).err == "error: it exited with 1\n");
}

TEST_CASE("deploy can be left to itself") {
    ScriptedServer server({{202, accepted}});
    CHECK(run(server.address(), {"deploy", "-d", "https://h/r.git", "-n", "a"}).out ==
          "deployment dep1 goes on as operation op1\n");
}
