#include "plugins/docker/documents.hpp"

#include "plugins/docker/build_log.hpp"
#include "plugins/docker/demux.hpp"
#include "plugins/docker/engine.hpp"
#include "plugins/docker/exec_failure.hpp"
#include "plugins/docker/json_lines.hpp"
#include "plugins/docker/labels.hpp"

#include <catch2/catch.hpp>

using namespace minions;
using namespace minions::docker;

namespace {

std::string frame(char stream, const std::string& payload) {
    std::string bytes{stream, 0, 0, 0, 0, 0, 0, static_cast<char>(payload.size())};
    return bytes + payload;
}

}  // namespace

TEST_CASE("a multiplexed stream is taken apart wherever it is cut") {
    const std::string bytes =
        frame(1, "out one") + frame(2, "err") + frame(1, "") + frame(3, "!") + frame(1, "two");
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        std::string out;
        std::string error;
        Demultiplexer demux([&](Stream stream, std::string_view piece) {
            (stream == Stream::error ? error : out).append(piece);
        });
        demux.feed(bytes.substr(0, cut));
        demux.feed(bytes.substr(cut));
        CHECK(out == "out onetwo");
        CHECK(error == "err!");
        CHECK_NOTHROW(demux.finish());
    }
    Demultiplexer demux([](Stream, std::string_view) {});
    demux.feed(frame(1, "abc").substr(0, 9));
    CHECK_THROWS_WITH(demux.finish(), Catch::Contains("cut off"));
    CHECK_THROWS_AS(Demultiplexer([](Stream, std::string_view) {}).feed("HTTP/1.1 500"), Error);
}

TEST_CASE("the version that both sides know is spoken") {
    const auto of = [](const char* api, const char* least) {
        return negotiate(Value::object({{"Version", "x"}, {"ApiVersion", api}, {"MinAPIVersion", least}}));
    };
    CHECK(of("1.41", "1.12").api == "1.41");
    CHECK(of("1.50", "1.24").api == "1.50");
    CHECK(of("1.52", "1.44").api == "1.52");  // Docker Engine 29
    CHECK(of("1.60", "1.44").api == "1.52");
    CHECK(of("1.40", "1.12").api == "1.40");
    CHECK_THROWS_WITH(of("1.39", "1.12"), Catch::Contains("up to 1.39") && Catch::Contains("update Docker"));
    CHECK_THROWS_WITH(of("1.70", "1.60"), Catch::Contains("from 1.60 on"));
    CHECK_THROWS_AS(negotiate(Value()), Error);
    const auto podman = negotiate(
        parse_json(R"({"Components":[{"Name":"Podman Engine","Version":"4.3.1"}],"Version":"4.3.1",)"
                   R"("ApiVersion":"1.41","MinAPIVersion":"1.24"})"));
    CHECK(podman.podman);
    CHECK(podman.api == "1.41");
}

TEST_CASE("facts from an inspect") {
    const auto running = facts_from_inspect(parse_json(
        R"({"Id":"c1","State":{"Status":"running","Pid":42,"ExitCode":0,"StartedAt":"2026-11-23T11:37:46.85Z",)"
        R"("FinishedAt":"0001-01-01T00:00:00Z","Health":{"Status":"starting"}},"NetworkSettings":{"IPAddress":"",)"
        R"("Ports":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"32768"}],"81/tcp":null},)"
        R"("Networks":{"bridge":{"IPAddress":"172.17.0.2"}}}})"));
    CHECK(running.status == Status::running);
    CHECK(running.pid == 42);
    CHECK(running.ip == "172.17.0.2");
    CHECK(running.ports == std::map<std::string, int>{{"80/tcp", 32768}});
    CHECK(running.health == "starting");
    CHECK_FALSE(running.exit_code);
    const auto killed = facts_from_inspect(
        parse_json(R"({"Id":"c1","State":{"Status":"exited","Pid":0,"ExitCode":137,"OOMKilled":true,)"
                   R"("FinishedAt":"2026-11-23T11:37:46.85Z"}})"));
    CHECK(killed.status == Status::stopped);
    CHECK(killed.exit_code == 137);
    CHECK(killed.reason.value_or("").find("memory") != std::string::npos);
    // Since API 1.52 the address is in the networks alone.
    const auto newest = facts_from_inspect(
        parse_json(R"({"State":{"Status":"running","Pid":4},"NetworkSettings":{"Ports":{},"Networks":)"
                   R"({"bridge":{"IPAddress":"172.17.0.3"}}}})"));
    CHECK(newest.ip == "172.17.0.3");
    const auto created = facts_from_inspect(
        parse_json(R"({"State":{"Status":"created","ExitCode":0,"FinishedAt":"0001-01-01T00:00:00Z"}})"));
    CHECK(created.status == Status::stopped);
    CHECK_FALSE(created.exit_code);
}

TEST_CASE("documents of other engines, with members left out, null or of another type") {
    for (const char* text :
         {"null", "{}", "[]", R"({"State":null,"NetworkSettings":null,"Config":null})",
          R"({"State":{"Status":7,"Pid":"x"},"NetworkSettings":{"Ports":[],"Networks":[]}})",
          R"({"State":"running","Ports":"x","NetworkSettings":7})"}) {
        const Value document = parse_json(text);
        facts_from_inspect(document);
        facts_from_list(document);
        stats_from(document, document, {});
        CHECK_FALSE(container_event(document));
    }
    // Podman's own words for states.
    CHECK(facts_from_list(parse_json(R"({"State":"configured"})")).status == Status::stopped);
    CHECK(facts_from_list(parse_json(R"({"State":"stopped"})")).status == Status::stopped);
    CHECK(facts_from_list(parse_json(R"({"State":"stopping"})")).status == Status::running);
}

TEST_CASE("facts from a list agree with those of an inspect") {
    const auto facts = facts_from_list(parse_json(
        R"x({"Id":"c1","State":"running","Status":"Up 2 minutes (healthy)","Ports":[{"IP":"127.0.0.1",)x"
        R"x("PrivatePort":80,"PublicPort":32768,"Type":"tcp"},{"PrivatePort":81,"Type":"tcp"}],)x"
        R"x("NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.2"}}}})x"));
    CHECK(facts.status == Status::running);
    CHECK(facts.ports == std::map<std::string, int>{{"80/tcp", 32768}});
    CHECK(facts.ip == "172.17.0.2");
    CHECK(facts.health == "healthy");
    CHECK(exit_code_in("Exited (143) 2 minutes ago") == 143);
    CHECK_FALSE(exit_code_in("Up 2 minutes"));
    CHECK_FALSE(exit_code_in("Exited (1"));
    CHECK(health_in("Up 1 second (health: starting)") == "starting");
    CHECK_FALSE(health_in("Up 1 second"));
}

TEST_CASE("what a container is made with") {
    Instance instance;
    instance.id = "abc";
    instance.name = "n";
    instance.spec.image = "i";
    instance.spec.environment = {{"A", "x\ny"}};
    instance.spec.ports = {{80, "tcp", "127.0.0.1", 0}, {53, "udp", "::1", 5353}};
    const Value document = container_document({}, instance, label::for_container("inst", instance));
    const Value& host = document["HostConfig"];
    CHECK(document["Labels"]["minions.installation"].string_or("") == "inst");
    CHECK(document["Labels"]["minions.instance"].string_or("") == "abc");
    CHECK(document["Env"].if_array()->front().string_or("") == "A=x\ny");
    CHECK(document.find("Cmd") == nullptr);
    CHECK(host["Privileged"].bool_or(true) == false);
    CHECK(host["Init"].bool_or(false));
    CHECK(host["RestartPolicy"]["Name"].string_or("") == "no");
    CHECK(host["LogConfig"]["Config"]["max-size"].string_or("") == "16m");
    CHECK(host.find("Binds") == nullptr);
    CHECK(host.find("Memory") == nullptr);
    CHECK(
        to_json(host["PortBindings"]) ==
        R"({"80/tcp":[{"HostIp":"127.0.0.1","HostPort":""}],"53/udp":[{"HostIp":"::1","HostPort":"5353"}]})");
    instance.spec.labels = {{"minions.owner", "me"}};
    CHECK_THROWS_WITH(label::for_container("inst", instance), Catch::Contains("minions.owner"));
}

TEST_CASE("times, references, percentages") {
    CHECK(parse_time("1970-01-01T00:00:01.5Z")->count() == 1'500'000'000);
    CHECK(parse_time("1970-01-01T01:00:00+01:00")->count() == 0);
    CHECK_FALSE(parse_time("0001-01-01T00:00:00Z"));
    CHECK_FALSE(parse_time("soon"));
    CHECK(pullable("python:3.11-slim")->tag == "3.11-slim");
    CHECK(pullable("host:5000/a/b")->name == "host:5000/a/b");
    CHECK(pullable("host:5000/a/b")->tag == "latest");
    CHECK(pullable("a@sha256:12")->tag == "sha256:12");
    CHECK_FALSE(pullable("sha256:12"));
    using namespace std::chrono_literals;
    CHECK(*cpu_percent({0, 1s}, {1'000'000'000, 2s}) == Approx(100));
    CHECK_FALSE(cpu_percent({0, 1s}, {5, 1s}));
}

TEST_CASE("engines' words for a command that cannot run") {
    const auto of = [](const char* text) { return classify_exec_failure(text); };
    CHECK(of("OCI runtime exec failed: exec failed: unable to start container process: exec: \"x\": "
             "executable "
             "file not found in $PATH: unknown") == ExecFailure::not_found);
    CHECK(of("exec: \"/x\": stat /x: no such file or directory: unknown") == ExecFailure::not_found);
    CHECK(of("exec: \"/etc/passwd\": permission denied: unknown") == ExecFailure::not_executable);
    CHECK(of("crun: executable file `x` not found in $PATH: No such file or directory: OCI runtime "
             "attempted to "
             "invoke a command that was not found") == ExecFailure::not_found);
    CHECK(of("unable to find user x: no matching entries in passwd file") == ExecFailure::user);
    CHECK(of("chdir to cwd (\"/x\") set in config.json failed: no such file or directory") ==
          ExecFailure::directory);
    CHECK(of("OCI runtime exec failed: exec failed: cannot exec in a stopped container: unknown") ==
          ExecFailure::stopped);
    CHECK(of("OCI runtime exec failed: exec failed: cannot exec a container that has stopped: unknown") ==
          ExecFailure::stopped);
    CHECK(of("Container 0123 is not running") == ExecFailure::stopped);
    CHECK(of("can only create exec sessions on running containers: container state improper") ==
          ExecFailure::stopped);
    CHECK(of("hello") == ExecFailure::none);
    CHECK(looks_like_exec_failure("OCI runtime exec failed: x"));
    CHECK(looks_like_exec_failure("Error: runc: exec failed: x"));  // Podman
    CHECK_FALSE(looks_like_exec_failure("Error: x"));
}

TEST_CASE("a build's stream becomes a log, layers and a result, wherever it is cut") {
    const std::string stream =
        "{\"stream\":\"Step 1/3 : FROM base\"}\r\n{\"stream\":\"\\n\"}\r\n{\"stream\":\" ---\\u003e "
        "51507d0b96e7\\n\"}\r\n"
        "{\"stream\":\"Step 2/3 : RUN a\"}\r\n{\"stream\":\"\\n\"}\r\n{\"stream\":\" ---\\u003e Using "
        "cache\\n\"}\r\n"
        "{\"stream\":\" ---\\u003e 111111111111\\n\"}\r\n{\"stream\":\"Step 3/3 : RUN "
        "b\"}\r\n{\"stream\":\"\\n\"}\r\n"
        "{\"stream\":\" ---\\u003e Running in "
        "222222222222\\n\"}\r\n{\"stream\":\"\\u001b[91merr\\n\\u001b[0m\"}\r\n"
        "{\"stream\":\" ---\\u003e 333333333333\\n\"}\r\n{\"aux\":{\"ID\":\"sha256:3\"}}\r\n";
    for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
        std::string text;
        std::string made;
        int steps = 0;
        BuildLog log({[&](std::string_view piece) { text += piece; },
                      [&](const Progress& progress) { steps += progress.total == 3 ? 1 : 0; },
                      [&](std::string_view id) { made += "layer " + std::string(id) + ";"; },
                      [&](std::string_view id) { made += "step " + std::string(id) + ";"; }});
        log.feed(stream.substr(0, cut));
        log.feed(stream.substr(cut));
        log.finish();
        REQUIRE(made == "step 222222222222;layer 333333333333;");
        CHECK(steps == 3);
        CHECK(log.image() == "sha256:3");
        CHECK_FALSE(log.failure());
        CHECK(text.find("\nerr\n") != std::string::npos);
        CHECK(text.find('\x1b') == std::string::npos);
    }
}

TEST_CASE("a build's error comes with the last lines") {
    BuildLog log(
        {[](std::string_view) {}, [](const Progress&) {}, [](std::string_view) {}, [](std::string_view) {}});
    for (int i = 0; i < 100; ++i)
        log.feed(to_json(Value::object({{"stream", "line " + std::to_string(i) + "\n"}})) + "\n");
    log.feed(R"({"errorDetail":{"code":3,"message":"returned a non-zero code: 3"},"error":"returned"})");
    log.finish();
    CHECK(log.failure() == "returned a non-zero code: 3");
    CHECK(log.tail().find("line 99\nreturned a non-zero code: 3\n") != std::string::npos);
    CHECK(log.tail().find("line 80\n") == std::string::npos);
    CHECK(log.tail().starts_with("line 8"));
}
