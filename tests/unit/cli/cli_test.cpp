#include "tests/unit/cli/scripted_server.hpp"

#include <minions/value.hpp>

#include <catch2/catch.hpp>
#include <unistd.h>

#include <cstdlib>

using namespace minions;
using namespace minions::test;
using Catch::Contains;
using Catch::StartsWith;

namespace {

constexpr const char* two_vms =
    R"([{"name":"a","status":"running","ip":"10.0.0.2","cpus":2,"memory_mb":1024,"pid":12345},)"
    R"({"name":"longer-name","status":"stopped","ip":null,"cpus":null,"memory_mb":null,"pid":null}])";

Value body_of(const std::string& request) { return parse_json(request.substr(request.find("\r\n\r\n") + 4)); }

}  // namespace

TEST_CASE("list prints the table of the specification") {
    ScriptedServer server({{200, two_vms}, {200, "[]"}, {200, two_vms}});
    CHECK(run(server.address(), {"list"}).out ==
          "NAME         STATUS   IP        CPUS  MEMORY  PID\n"
          "a            running  10.0.0.2  2     1024    12345\n"
          "longer-name  stopped  -         -     -       -\n");
    const auto empty = run(server.address(), {"list"});
    CHECK(empty.out == "No VMs found.\n");
    CHECK(empty.code == 0);
    const auto json = run(server.address(), {"list", "--json", "--label", "a=b c", "--status", "running"});
    CHECK(parse_json(json.out) == parse_json(two_vms));
    CHECK_THAT(server.requests().at(0), StartsWith("GET /api/vms HTTP/1.1\r\n"));
    CHECK_THAT(server.requests().at(2),
               StartsWith("GET /api/vms?label=a%3Db%20c&status=running HTTP/1.1\r\n"));
}

TEST_CASE("the daemon can be asked through a Unix socket") {
    const auto path = "/tmp/minions-cli-" + std::to_string(::getpid()) + ".sock";
    ScriptedServer server({{200, "[]"}}, path);
    CHECK(run("unix:" + path, {"list"}).out == "No VMs found.\n");
}

TEST_CASE("exec with --json asks for one document, and passes the exit code on") {
    ScriptedServer server({{200, R"({"exit_code":3,"stdout":"out\n","stderr":"err\n"})"},
                           {200, R"({"exit_code":0,"stdout":"AP8K","stderr":"","stdout_encoding":"base64"})"},
                           {200, R"({"exit_code":null,"signal":9,"stdout":"","stderr":""})"},
                           {504, R"({"error":"too slow","code":"deadline","exit_code":null})"}});
    const auto first =
        run(server.address(), {"--json", "exec", "a", "--", "sh", "-c", "exit 3", "--", "--json"});
    CHECK(first.code == 3);
    CHECK(parse_json(first.out) == parse_json(R"({"exit_code":3,"stdout":"out\n","stderr":"err\n"})"));
    run(server.address(), {"--json", "exec", "-i", "-w", "/srv", "a", "--", "cat"},
        std::string("\0\xff\n", 3));
    CHECK(run(server.address(), {"exec", "a", "--json", "-e", "K=V=W", "true"}).code == 137);
    const auto late = run(server.address(), {"--json", "exec", "a", "--", "sleep", "9"});
    CHECK(late.code == 1);
    CHECK(late.err == "error: too slow\n");

    CHECK_THAT(server.requests().at(0), StartsWith("POST /api/vms/a/exec HTTP/1.1\r\n"));
    CHECK(body_of(server.requests().at(0)) ==
          parse_json(R"({"command":"sh","args":["-c","exit 3","--","--json"]})"));
    CHECK(body_of(server.requests().at(1)) ==
          parse_json(R"({"command":"cat","args":[],"cwd":"/srv","stdin":"AP8K","stdin_encoding":"base64"})"));
    CHECK(body_of(server.requests().at(2)) ==
          parse_json(R"({"command":"true","args":[],"env":{"K":"V=W"}})"));
}

TEST_CASE("create sends what was asked for and nothing else") {
    ScriptedServer server(
        {{201, R"({"name":"a","status":"running","ip":"10.0.0.2","ports":{"80/tcp":8080}})"},
         {201, R"({"name":"b","status":"running","ip":null,"ports":{}})"}});
    ::setenv("MINIONS_TEST_SECRET", "hunter2", 1);
    const auto made = run(server.address(), {"create",    "a",
                                             "--cpus",    "4",
                                             "--memory",  "2048",
                                             "--runtime", "docker",
                                             "--image",   "i",
                                             "-e",        "A=1",
                                             "--env",     "MINIONS_TEST_SECRET",
                                             "-l",        "t=r",
                                             "-p",        "8080:80",
                                             "-p",        "0.0.0.0:53:53/udp",
                                             "--",        "sleep",
                                             "-x"});
    CHECK(made.out == "VM 'a' is running at 10.0.0.2\nports: 80/tcp=8080\n");
    CHECK(run(server.address(), {"create", "b"}).out == "VM 'b' is running\n");
    CHECK(body_of(server.requests().at(0)) == parse_json(R"({"name":"a","cpus":4,"memory_mb":2048,"image":"i",
        "runtime":"docker","environment":{"A":"1","MINIONS_TEST_SECRET":"hunter2"},"labels":{"t":"r"},
        "ports":[{"port":80,"host_port":8080},{"protocol":"udp","port":53,"host_port":53,"address":"0.0.0.0"}],
        "command":["sleep","-x"]})"));
    CHECK(body_of(server.requests().at(1)) == parse_json(R"({"name":"b"})"));
}

TEST_CASE("changes ask for what their name says") {
    const std::string vm = R"({"name":"a","status":"stopped"})";
    ScriptedServer server({{200, vm},
                           {200, vm},
                           {200, vm},
                           {200, R"({"message":"VM 'a' destroyed"})"},
                           {200, R"({"message":"VM 'b' destroyed"})"}});
    CHECK(run(server.address(), {"stop", "--force", "-t", "1.5", "a"}).out == "VM 'a' is stopped\n");
    run(server.address(), {"start", "a"});
    run(server.address(), {"pause", "a/b"});
    CHECK(run(server.address(), {"destroy", "a", "b"}).out == "VM 'a' destroyed\nVM 'b' destroyed\n");
    const auto requests = server.requests();
    CHECK_THAT(requests.at(0), StartsWith("POST /api/vms/a/stop "));
    CHECK(body_of(requests.at(0)) == parse_json(R"({"force":true,"timeout_seconds":1.5})"));
    CHECK_THAT(requests.at(1), StartsWith("POST /api/vms/a/start "));
    CHECK_THAT(requests.at(2), StartsWith("POST /api/vms/a%2Fb/pause "));
    CHECK_THAT(requests.at(3), StartsWith("DELETE /api/vms/a "));
    CHECK_THAT(requests.at(4), StartsWith("DELETE /api/vms/b "));
}

TEST_CASE("failures are a sentence and a hint on stderr") {
    ScriptedServer server({{404, R"({"error":"VM 'x' not found","code":"not_found"})"},
                           {503, R"({"error":"no engine","code":"unavailable","hint":"start it"})"},
                           {502, "<html>bad gateway</html>"},
                           {404, R"({"error":"evil \u001b[2J \u009b2J \u00e9","code":"not_found"})"}});
    const auto gone = run(server.address(), {"get", "x"});
    CHECK(gone.code == 1);
    CHECK(gone.out.empty());
    CHECK(gone.err == "error: VM 'x' not found\n");
    // What the daemon says is away is no failure to connect.
    const auto away = run(server.address(), {"logs", "x"});
    CHECK(away.code == 1);
    CHECK(away.err == "error: no engine\nhint: start it\n");
    CHECK(run(server.address(), {"get", "x"}).err == "error: the daemon answered with status 502\n");
    CHECK(run(server.address(), {"get", "x"}).err == "error: evil \\x1b[2J \\u009b2J \u00e9\n");
}

TEST_CASE("a daemon that does not answer is told apart") {
    const auto result = run("unix:/nonexistent/minions.sock", {"list"});
    CHECK(result.code == 3);
    CHECK_THAT(result.err, StartsWith("error: cannot connect to /nonexistent/minions.sock"));
    CHECK_THAT(result.err, Contains("hint: is the daemon running?"));
}

TEST_CASE("wrong usage exits with 2 and points at the help") {
    CHECK(run("", {"lst"}).err == "error: unknown command 'lst'\nhint: did you mean 'list'?\n");
    for (const auto& arguments :
         std::vector<std::vector<std::string>>{{},
                                               {"list", "--nonsense"},
                                               {"exec"},
                                               {"exec", "a"},
                                               {"create", "a", "-e", "NOT_SET_ANYWHERE"},
                                               {"create", "a", "-p", "1:2:3:4x"},
                                               {"list", "--", "x"},
                                               {"token"},
                                               {"create", "a", "--cpus", "two"}}) {
        CAPTURE(arguments);
        const auto result = run("", arguments);
        CHECK(result.code == 2);
        CHECK(result.out.empty());
        CHECK_FALSE(result.err.empty());
    }
    CHECK(run("https://x", {"list"}).code == 1);
}

TEST_CASE("help is a document: a sentence, examples, options") {
    const auto help = run("", {"exec", "--help"});
    CHECK(help.code == 0);
    CHECK_THAT(help.out, StartsWith("Runs a command inside an instance"));
    CHECK(help.out.find("Examples:") < help.out.find("Options:"));
    const auto program = run("", {"--help"});
    CHECK_THAT(program.out, Contains("  list          Lists the instances.\n"));
    CHECK_THAT(program.out, !Contains("plugin-host"));
    CHECK_THAT(run("", {"--version"}).out, StartsWith("minions "));
}

TEST_CASE("the token is sent and never printed") {
    ScriptedServer server({{200, "[]"}, {401, R"({"error":"unknown token","code":"unauthenticated"})"}});
    run(server.address(), {"--token", "mn_secret", "list"});
    const auto refused = run(server.address(), {"--token", "mn_secret", "list"});
    CHECK_THAT(server.requests().at(0), Contains("\r\nAuthorization: Bearer mn_secret\r\n"));
    CHECK_THAT(refused.err, !Contains("mn_secret"));
}

TEST_CASE("logs are streamed as they are") {
    ScriptedServer server({{200, "line\n\x1b[1mbold\n"}});
    CHECK(run(server.address(), {"logs", "-f", "--tail", "5", "a"}).out == "line\n\x1b[1mbold\n");
    CHECK_THAT(server.requests().at(0), StartsWith("GET /api/vms/a/logs?follow=1&tail=5 "));
}

TEST_CASE("events are put together from the stream") {
    const std::string stream =
        ": alive\n\nid: 1\nevent: t\ndata: {\"id\":1,\"time\":\"T\",\"type\":\"instance.running\","
        "\"subject\":\"a\",\"data\":{}}\n\nid: 2\ndata: {\"id\":2,\"time\":\"T\",\"type\":\"x\","
        "\"subject\":\"b\",\"data\":{\"k\":1}}\n\n";
    ScriptedServer server({{200, stream}, {200, stream}, {200, stream}});
    const auto all = run(server.address(), {"events", "--after", "0", "--count", "2"});
    CHECK(all.code == 0);
    CHECK(all.out == "T 1 instance.running a\nT 2 x b k=1\n");
    CHECK(run(server.address(), {"events", "-n", "1"}).out == "T 1 instance.running a\n");
    const auto ended = run(server.address(), {"events"});
    CHECK(ended.code == 1);
    CHECK_THAT(ended.err, Contains("ended the event stream"));
    CHECK_THAT(server.requests().at(0), StartsWith("GET /api/events?after=0 "));
}

TEST_CASE("a new token is on stdout alone") {
    ScriptedServer server({{201, R"({"id":"i","scope":"exec","token":"mn_x"})"}});
    const auto made = run(server.address(), {"token", "create", "ci", "--scope", "exec", "--expires", "2d"});
    CHECK(made.out == "mn_x\n");
    CHECK(body_of(server.requests().at(0)) ==
          parse_json(R"({"name":"ci","scope":"exec","expires_seconds":172800})"));
}

TEST_CASE("config shows values with their source, and what is wrong with them") {
    const auto shown = run("", {"config", "--config", "/dev/null", "--set", "log.level=debug", "--bind",
                                "127.0.0.1:0", "--bind", "[::1]:0", "--json"});
    CHECK(shown.code == 0);
    const auto items = parse_json(shown.out);
    CHECK((*items.if_array())[0] ==
          Value::object(
              {{"key", "server.bind"}, {"value", "127.0.0.1:0, [::1]:0"}, {"source", "command line"}}));
    const auto elsewhere = run("", {"config", "--config", "/dev/null", "--run-dir", "/tmp/m", "--json"});
    CHECK_THAT(elsewhere.out, Contains("\"/tmp/m/minions.sock\""));
    const auto wrong = run("", {"config", "--config", "/dev/null", "--set", "log.lvl=debug"});
    CHECK(wrong.code == 1);
    CHECK(wrong.err == "error: command line: unknown key 'log.lvl'\nhint: did you mean 'log.level'?\n");
}
