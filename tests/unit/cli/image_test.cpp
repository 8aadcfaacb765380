#include "cli/operations.hpp"
#include "tests/unit/cli/scripted_server.hpp"

#include <minions/base/fd.hpp>
#include <minions/value.hpp>

#include <catch2/catch.hpp>
#include <unistd.h>

#include <cstdlib>

using namespace minions;
using namespace minions::cli;
using namespace minions::test;
using Catch::Contains;
using Catch::StartsWith;

namespace {
constexpr const char* accepted = R"({"id":"op1","kind":"image.build","subject":"box","status":"running"})";
constexpr const char* succeeded =
    R"({"id":"op1","status":"succeeded","result":{"name":"box","id":"sha256:12"}})";
}  // namespace

TEST_CASE("a line of progress has stage, bar, amounts and what is done now") {
    const auto line = [](const char* operation, std::size_t width = 79) {
        return progress_line(parse_json(operation), width);
    };
    CHECK(line(R"({"stage":"building","progress":{"done":1,"total":4,"message":"unpacking"}})") ==
          "building  [#####---------------]  1/4  unpacking");
    CHECK(line(R"({"stage":"building","progress":{"done":4,"total":4,"message":""}})") ==
          "building  [####################]  4/4");
    CHECK(line(R"({"stage":"computing","progress":{"done":3145728,"total":10485760}})") ==
          "computing  [######--------------]  3 MiB/10 MiB");
    CHECK(line(R"({"stage":"extracting","progress":{"done":3145728,"total":null}})") == "extracting  3 MiB");
    CHECK(line(R"({"stage":"converting","progress":null})") == "converting");
    CHECK(line(R"({"progress":{"done":9,"total":3}})") == "waiting  [####################]  9/3");
    CHECK(line(R"({"stage":"building","progress":{"message":"a\u001b[2Jb"}})", 14).find('\x1b') ==
          std::string::npos);
    CHECK(line(R"({"stage":"building","progress":{"message":"long text"}})", 12) == "building  lo");
}

TEST_CASE("image build waits for the image, with what it was asked for") {
    ScriptedServer server({{202, accepted}, {200, accepted}, {200, succeeded}});
    const auto done = run(server.address(), {"image", "build", "box", "--recipe", "minimal", "--suite", "sid",
                                             "--include", "git,python3", "--size-mb", "512"});
    CHECK(done.code == 0);
    CHECK(done.out == "image 'box' is sha256:12\n");
    CHECK(done.err.empty());  // no bar where nobody watches
    const auto requests = server.requests();
    CHECK_THAT(requests.at(0),
               StartsWith("POST /api/images/build ") && Contains("\r\nPrefer: respond-async\r\n"));
    CHECK(
        parse_json(requests.at(0).substr(requests.at(0).find("\r\n\r\n") + 4)) ==
        parse_json(
            R"({"name":"box","recipe":"minimal","suite":"sid","include":["git","python3"],"size_mb":512})"));
}

TEST_CASE("a build that fails says why") {
    ScriptedServer server(
        {{202, accepted},
         {200,
          R"({"id":"op1","status":"failed","error":{"code":"failed","message":"no archive","hint":"look"}})"},
         {409, R"({"error":"image 'box' already exists","code":"conflict","hint":"delete it first"})"}});
    const auto failed = run(server.address(), {"image", "build", "box"});
    CHECK(failed.code == 1);
    CHECK(failed.err == "error: no archive\nhint: look\n");
    CHECK(run(server.address(), {"image", "build", "box"}).err ==
          "error: image 'box' already exists\nhint: delete it first\n");
}

TEST_CASE("image import sends the file as it is") {
    ScriptedServer server({{202, accepted}, {200, succeeded}});
    char file[] = "/tmp/minions-image-XXXXXX";
    const Fd made(::mkstemp(file));
    REQUIRE(::write(made.get(), "the bytes", 9) == 9);
    const auto done = run(server.address(), {"image", "import", "box", file, "--kernel-from", "tiny",
                                             "--command-line", "root=/dev/vda1 rw"});
    ::unlink(file);
    CHECK(done.code == 0);
    const auto request = server.requests().at(0);
    CHECK_THAT(
        request,
        StartsWith("POST /api/images?name=box&kernel_from=tiny&command_line=root%3D%2Fdev%2Fvda1%20rw "));
    CHECK_THAT(request, Contains("\r\nContent-Type: application/octet-stream\r\n") && Contains("the bytes"));
    CHECK(run(server.address(), {"image", "import", "box", "/nonexistent/file"}).code == 1);
}

TEST_CASE("images are listed for people, and deleted") {
    ScriptedServer server(
        {{200,
          R"([{"name":"box","id":"sha256:0123456789abcdef0123","size_bytes":1048577,"created_at":"2026-01-01T00:00:00.000Z","recipe":"debian","used_by":["a","b"]}])"},
         {200, "[]"},
         {200, R"({"message":"image 'box' deleted"})"}});
    CHECK(run(server.address(), {"image", "list"}).out ==
          "NAME  ID                   RECIPE  SIZE   CREATED                   USED BY\n"
          "box   sha256:0123456789ab  debian  2 MiB  2026-01-01T00:00:00.000Z  a, b\n");
    CHECK(run(server.address(), {"image", "list"}).out == "No images found.\n");
    CHECK(run(server.address(), {"image", "delete", "box"}).out == "image 'box' deleted\n");
    CHECK_THAT(server.requests().at(2), StartsWith("DELETE /api/images/box "));
}
