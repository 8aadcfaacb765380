#include "core/config/config.hpp"

#include <minions/error.hpp>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

using namespace minions;
using namespace minions::core;
using Catch::Contains;
using std::chrono::milliseconds;

namespace {

struct File {
    explicit File(const std::string& text, mode_t mode = 0600) {
        std::string name = "/tmp/minions-config-XXXXXX";
        const int fd = ::mkstemp(name.data());
        REQUIRE(fd >= 0);
        ::close(fd);
        path = name;
        write(text);
        REQUIRE(::chmod(path.c_str(), mode) == 0);
    }
    ~File() { ::unlink(path.c_str()); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    void write(const std::string& text) const { std::ofstream(path) << text; }
    std::string path;
};

Config load(const File& file, std::vector<std::pair<std::string, std::string>> set = {}) {
    return Config({file.path, false, std::move(set)});
}

/// What the start says of a file, with the file's path as "F".
std::string refusal(const std::string& text, std::vector<std::pair<std::string, std::string>> set = {},
                    mode_t mode = 0600) {
    const File file(text, mode);
    std::string message = "accepted";
    try {
        load(file, std::move(set));
    } catch (const Error& error) {
        message = error.what();
        for (auto at = message.find(file.path); at != std::string::npos; at = message.find(file.path)) {
            message.replace(at, file.path.size(), "F");
        }
    }
    return message;
}

std::vector<ConfigKey> docker_keys() {
    ConfigKey socket{"socket", KeyType::string, "/run/docker.sock", 0, 0, "d", {}};
    ConfigKey limit{"limit", KeyType::integer, "5", 1, 10, "d", {}};
    ConfigKey password{"password", KeyType::string, "", 0, 0, "d", {}, true};
    return {socket, limit, password};
}

}  // namespace

TEST_CASE("each value knows where it comes from") {
    const File file(
        "# comment\n\nserver.bind = 127.0.0.1:0, [::1]:0\n  exec.timeout_seconds: 7\n"
        "log.level = debug\nserver.socket =\n");
    const auto config = load(file, {{"log.level", "error"}, {"log.level", "warning"}});
    CHECK(config.list("server.bind") == std::vector<std::string>{"127.0.0.1:0", "[::1]:0"});
    CHECK(config.source("server.bind") == file.path + ":3");
    CHECK(config.duration("exec.timeout_seconds") == milliseconds(7000));
    CHECK(config.source("exec.timeout_seconds") == file.path + ":4");
    CHECK(config.string("log.level") == "warning");
    CHECK(config.source("log.level") == "command line");
    CHECK(config.string("server.socket").empty());
    CHECK(config.string("state_dir") == "/var/lib/minions");
    CHECK(config.source("state_dir") == "default");
    CHECK(config.size("exec.max_output_bytes") == 16777216);
    CHECK(config.boolean("deployments.allow_private_addresses") == false);
}

TEST_CASE("lines can be continued and values hold anything") {
    const File file(
        "access.hosts = a, \\\n  b.example\ndeployments.pip_index_url = http://x:1/=${y}#z\n"
        "log.level = debug\n");
    const auto config = load(file);
    CHECK(config.list("access.hosts") == std::vector<std::string>{"a", "b.example"});
    CHECK(config.string("deployments.pip_index_url") == "http://x:1/=${y}#z");
    CHECK(config.source("log.level") == file.path + ":4");
}

TEST_CASE("a wrong key or value names file, line, key and cure") {
    CHECK(refusal("# x\nserver.bnd = y\n") == "F:2: unknown key 'server.bnd'; did you mean 'server.bind'?");
    CHECK(refusal("runtimes.defualt = y\n") ==
          "F:1: unknown key 'runtimes.defualt'; did you mean 'runtimes.default'?");
    CHECK(refusal("zzzzzzzzzzzz = y\n") ==
          "F:1: unknown key 'zzzzzzzzzzzz'; minions config lists the keys that there are");
    CHECK(refusal("\nhttp.workers = many\n") ==
          "F:2: 'http.workers' must be an integer from 0 to 256, and is 'many'");
    CHECK(refusal("log.level = inof\n") ==
          "F:1: 'log.level' must be one of debug, info, warning, error, and is 'inof'; did you mean 'info'?");
    CHECK(refusal("", {{"server.bnd", "x"}}) ==
          "command line: unknown key 'server.bnd'; did you mean 'server.bind'?");
    CHECK(refusal("", {{"http.workers", "-1"}}) ==
          "command line: 'http.workers' must be an integer from 0 to 256, and is '-1'");
}

TEST_CASE("a malformed file is refused") {
    CHECK(refusal("a line\n") ==
          "F:1: 'a line' is not 'key = value'; start the line with # if it is a comment");
    CHECK_THAT(refusal("log.level = info\n\nlog.level = debug\n"),
               Contains("F:3: 'log.level' is set already in line 1"));
    CHECK_THAT(refusal(std::string("log.level = in\0fo\n", 18)), Contains("NUL"));
    CHECK_THAT(refusal(std::string((1U << 20U) + 2, '#')), Contains("larger than 1 MiB"));
}

TEST_CASE("the file's mode is checked") {
    CHECK(refusal("", {}, 0602) == "F: everybody may write the configuration file; run: chmod o-w F");
    CHECK_THROWS_AS(Config({"/tmp", false, {}}), Error);
}

TEST_CASE("only the default file may be absent") {
    CHECK_THROWS_WITH(Config({"/nonexistent/minions.conf", false, {}}),
                      Contains("/nonexistent/minions.conf"));
    CHECK(Config({"/nonexistent/minions.conf", true, {}}).string("log.level") == "info");
}

TEST_CASE("a key that code gets wrong is a bug and not a default") {
    const File file("");
    const auto config = load(file);
    CHECK_THROWS_AS(config.string("no.such.key"), std::logic_error);
    CHECK_THROWS_AS(config.string("server.bind"), std::logic_error);
    CHECK_THROWS_AS(config.source("no.such.key"), std::logic_error);
}

TEST_CASE("a runtime gets its keys, typed, with defaults") {
    const File file("runtimes.docker.limit = 7\n");
    auto config = load(file, {{"runtimes.docker.socket", "/x"}});
    CHECK(config.configure("docker", docker_keys()) ==
          Value::object({{"socket", "/x"}, {"limit", 7}, {"password", ""}}));
    CHECK(config.source("runtimes.docker.limit") == file.path + ":1");
    CHECK(config.integer("runtimes.docker.limit") == 7);
    CHECK(config.unclaimed().empty());
}

TEST_CASE("a number of a runtime without a default is absent until it is set") {
    const File file("");
    auto keys = docker_keys();
    keys[1].default_value.clear();
    CHECK(load(file).configure("docker", keys).find("limit") == nullptr);
    CHECK(load(file, {{"runtimes.docker.limit", "3"}}).configure("docker", keys)["limit"] == Value(3));
}

TEST_CASE("a bad key of a runtime is that runtime's trouble alone") {
    const File file("runtimes.docker.socet = /x\nruntimes.qemu.limit = 11\nruntimes.absent.x = 1\n");
    auto config = load(file);
    CHECK_THROWS_WITH(
        config.configure("docker", docker_keys()),
        Contains(":1: unknown key 'runtimes.docker.socet'; did you mean 'runtimes.docker.socket'?"));
    CHECK_THROWS_WITH(config.configure("qemu", docker_keys()),
                      Contains(":2: 'runtimes.qemu.limit' must be an integer from 1 to 10, and is '11'"));
    const auto warnings = config.unclaimed();
    REQUIRE(warnings.size() == 1);
    CHECK_THAT(warnings[0], Contains(":3: 'runtimes.absent.x' has no effect, since no runtime 'absent'"));

    auto required = docker_keys();
    required[0].required = true;
    CHECK_THROWS_WITH(config.configure("other", required),
                      Contains("needs a value for 'runtimes.other.socket'"));
}

TEST_CASE("secrets are redacted, warned about, and not taken from the command line") {
    const File file("runtimes.docker.password = hunter2\nruntimes.absent.password = hunter2\n", 0644);
    auto config = load(file);
    CHECK(config.warnings().empty());
    CHECK(config.configure("docker", docker_keys())["password"].string_or("") == "hunter2");
    for (const auto& item : config.dump()) CHECK_THAT(item.value, !Contains("hunter2"));
    REQUIRE(config.warnings().size() == 1);
    CHECK_THAT(config.warnings()[0], Contains("everybody may read it") && !Contains("hunter2"));

    auto argv = load(File(""), {{"runtimes.docker.password", "hunter2"}});
    CHECK_THROWS_WITH(argv.configure("docker", docker_keys()),
                      Contains("is a secret") && !Contains("hunter2"));
}

TEST_CASE("dump has every key once, in the order of the schema") {
    const File file("log.level = debug\n");
    const auto items = load(file).dump();
    REQUIRE(items.size() == core_schema().size());
    CHECK(items.front() == Config::Item{"server.bind", "127.0.0.1:3000", "default"});
    CHECK(std::count(items.begin(), items.end(), Config::Item{"log.level", "debug", file.path + ":1"}) == 1);
}

TEST_CASE("reload takes what can be taken and names what cannot") {
    const File file("log.level = info\n");
    auto config = load(file, {{"exec.timeout_seconds", "9"}});
    file.write(
        "\nlog.level = debug\nhttp.workers = 3\nexec.timeout_seconds = 1\nruntimes.docker.limit = 1\n");
    const auto result = config.reload();
    CHECK(result.changed == std::vector<std::string>{"log.level"});
    CHECK(result.needs_restart == std::vector<std::string>{"http.workers", "runtimes.docker.limit"});
    CHECK(config.string("log.level") == "debug");
    CHECK(config.source("log.level") == file.path + ":2");
    CHECK(config.integer("http.workers") == 0);
    CHECK(config.duration("exec.timeout_seconds") == milliseconds(9000));

    file.write("log.level = nonsense\n");
    CHECK_THROWS_AS(config.reload(), Error);
    CHECK(config.string("log.level") == "debug");
}

TEST_CASE("a trusted network that cannot be read is refused with its place, and reload keeps the rest too") {
    CHECK_THROWS_WITH(load(File("access.trusted = 10.0.0.0/8=king\n")),
                      Contains(":1: 'access.trusted' has the network '10.0.0.0/8=king', which needs one of"));
    const File file("access.trusted = 10.0.0.0/8=read\n");
    auto config = load(file);
    file.write("log.level = debug\naccess.trusted = 10.0.0.0/8=manage, 10.0.0.0=king\n");
    CHECK_THROWS_WITH(config.reload(), Contains(":2: 'access.trusted'"));
    CHECK(config.list("access.trusted") == std::vector<std::string>{"10.0.0.0/8=read"});
    CHECK(config.string("log.level") == "info");
}
