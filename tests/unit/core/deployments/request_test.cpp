#include "core/deployments/request.hpp"

#include "core/deployments/addresses.hpp"
#include "tests/unit/core/deployments/support.hpp"

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>

using namespace minions;
using namespace minions::core;
using test::error_of;

namespace {

DeploymentOptions strict() {
    DeploymentOptions options;
    options.key_dir = "/etc/minions/keys";
    return options;
}

DeployRequest good() {
    DeployRequest request;
    request.repo_url = "https://example.com/x.git";
    request.agent_name = "agent";
    return request;
}

/// The request is refused as invalid, and the message names the field.
void refused(const DeployRequest& request, const std::string& field) {
    const Error error = error_of([&] { check_request(request, strict()); });
    CHECK(error.code() == Code::invalid);
    CHECK(error.message().find("'" + field) != std::string::npos);
}

bool is_public(const char* text) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    if (::inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return is_public_address(reinterpret_cast<sockaddr&>(v4));
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    REQUIRE(::inet_pton(AF_INET6, text, &v6.sin6_addr) == 1);
    return is_public_address(reinterpret_cast<sockaddr&>(v6));
}

}  // namespace

TEST_CASE("a plain request is taken as it is, with the documented defaults") {
    const auto request =
        decode<DeployRequest>(parse_json(R"({"repo_url":"https://example.com/x","agent_name":"a"})"));
    CHECK(request.branch == "main");
    CHECK(request.python_version == "3.11");
    CHECK(request.expose_port == 8080);
    CHECK(request.startup_cmd == std::vector<std::string>{"python", "main.py"});
    CHECK(request.health_path == "/health");
    CHECK(request.dockerfile == DockerfileChoice::generated);
    CHECK(check_request(request, strict()).text() == "https://example.com/x");
}

TEST_CASE("repository addresses that are understood") {
    const std::vector<std::string> all = {"https", "ssh", "http", "file"};
    const auto same = [&](const char* text) { CHECK(parse_repo_url(text, all).text() == text); };
    same("https://example.com/a/b.git");
    same("https://example.com:8443/a/b.git");
    same("https://[2001:470::1]:8443/a");
    same("ssh://git@example.com/a/b");
    same("ssh://git@example.com:2222/~me/b");
    same("git@example.com:a/b.git");
    same("file:///srv/git/a.git");
    CHECK(parse_repo_url("HTTPS://Example.COM/A", all).text() == "https://example.com/A");
    CHECK(parse_repo_url("git@example.com:a/b.git", all).scheme == "ssh");
    CHECK(parse_repo_url("https://example.com/a", all).effective_port() == 443);
}

TEST_CASE("hostile repository addresses are refused") {
    const auto url = GENERATE(
        as<std::string>(), "--upload-pack=touch /tmp/x", "-u", "ext::sh -c touch% /tmp/x", "ext::sh",
        "fd::17", "transport::address", "file:///etc", "/etc", "./relative", "http://example.com/x",
        "git://example.com/x", "ftp://example.com/x", "https://user:secret@example.com/x",
        "https://token@example.com/x", "https://example.com/x\nhost: y",
        std::string("https://example.com/\0x", 22), "https://example.com/\x1b[2J", "https://", "https:///x",
        "https://example.com", "https://example.com/", "ssh://-oProxyCommand=touch/x",
        "git@-oProxyCommand=touch:x", "-oProxyCommand=x:y", "git@:x", "git@", "@example.com:x",
        "git@example.com:", "git@example.com:-x", "git@[::1:x", "ssh://git:pass@example.com/x",
        "ssh://git@example.com/-x", "https://example.com:99999/x", "https://example.com:/x",
        "https://example.com:0/x", "https://exa mple.com/x", "https://example.com/x?service=y",
        "https://example.com/x#y", "https://example.com\\@evil/x", "https://[zz]/x",
        "https://[2001:470::1]x/x", "https://.example.com/x", "https://a..b/x",
        "HTTPS::https://example.com/x", "", " https://example.com/x", "https://ex\xc3\xa4mple.com/x");
    CAPTURE(url);
    auto request = good();
    request.repo_url = url;
    request.ssh_key_path = "key";
    refused(request, "repo_url");
}

TEST_CASE("a long repository address is refused") {
    auto request = good();
    request.repo_url = "https://example.com/" + std::string(2100, 'x');
    refused(request, "repo_url");
}

TEST_CASE("addresses inside are refused in every notation") {
    const auto host =
        GENERATE(as<std::string>(), "127.0.0.1", "localhost", "LOCALHOST", "localhost.", "a.localhost",
                 "[::1]", "[::]", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1",
                 "0.0.0.0", "0", "[::ffff:127.0.0.1]", "[::ffff:8.8.8.8]", "[fe80::1]", "[fd00::1]",
                 "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "224.0.0.1", "255.255.255.255",
                 "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[ff02::1]");
    CAPTURE(host);
    auto request = good();
    request.repo_url = "https://" + host + ":8080/x.git";
    refused(request, "repo_url");
    auto options = strict();
    options.allow_private_addresses = true;
    CHECK_NOTHROW(check_request(request, options));
}

TEST_CASE("an address is used in the notation in which it was judged") {
    // curl reads these its own way, and looks for no pinned address then.
    for (const char* host : {"0x08.0x08.8.8", "134744072", "010.010.010.010", "8.8.2056", "8.8.8.8."}) {
        CAPTURE(host);
        auto request = good();
        request.repo_url = std::string("https://") + host + "/x.git";
        CHECK(check_request(request, strict()).text() == "https://8.8.8.8/x.git");
    }
    CHECK(canonical_host("example.com.") == "example.com");
    CHECK(canonical_host("127.1") == "127.0.0.1");
    CHECK(canonical_host("2130706433") == "127.0.0.1");
    CHECK(canonical_host("08.8.8.8") == "08.8.8.8");  // no octal number, so a name
    CHECK(canonical_host("2001:DB8:0::1") == "2001:db8::1");
}

TEST_CASE("which addresses are public") {
    for (const char* text :
         {"8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"}) {
        CAPTURE(text);
        CHECK(is_public(text));
    }
    for (const char* text : {"10.255.255.255", "172.31.255.255", "100.127.255.255", "192.0.2.1", "198.18.0.1",
                             "240.0.0.1", "2001::1", "2001:db8::1", "fec0::1", "100::1"}) {
        CAPTURE(text);
        CHECK_FALSE(is_public(text));
    }
}

TEST_CASE("a name that resolves to an address inside is refused when it is resolved") {
    // The name of this machine's loopback interface is in every hosts file.
    const Error error = error_of([] { resolve_host("localhost", true, no_deadline, -1); });
    CHECK(error.code() == Code::invalid);
    CHECK_FALSE(resolve_host("localhost", false, no_deadline, -1).empty());
}

TEST_CASE("hostile branches are refused") {
    const auto branch = GENERATE(as<std::string>(), "--upload-pack=touch /tmp/x", "-b", "a..b", "a b", "a~1",
                                 "a^", "a:b", "a?", "a*", "a[", "a\\b", "/a", "a/", "a//b", "a.lock",
                                 "a.lock/b", ".a", "a/.b", "a.", "@{-1}", "@", "HEAD", "", "a\nb",
                                 "a\x7f"
                                 "b",
                                 "a\tb");
    CAPTURE(branch);
    auto request = good();
    request.branch = branch;
    refused(request, "branch");
}

TEST_CASE("ordinary branches are taken") {
    for (const char* branch : {"main", "feature/x", "v1.2.3", "a@b", "über", "release-2026.01", "a.lockx"}) {
        CAPTURE(branch);
        CHECK_NOTHROW(check_branch(branch));
    }
}

TEST_CASE("hostile agent names are refused") {
    const auto name = GENERATE(as<std::string>(), "../a", "A", "-a", "a-", "a_b", "a b", "a/b",
                               std::string("a\0", 2), "", std::string(41, 'a'), "\xc3\xa4", "a.b", "a\n");
    CAPTURE(name);
    auto request = good();
    request.agent_name = name;
    refused(request, "agent_name");
}

TEST_CASE("hostile versions are refused") {
    const auto version =
        GENERATE(as<std::string>(), "3", "2.7", "3.11 AS x", "3.11\nRUN touch /x", "3.11-slim", "latest",
                 "3.", "3.11.", "../3.11", "", "3.11.1.1", "4.0", "3.011", "3.1111", "3.x");
    CAPTURE(version);
    auto request = good();
    request.python_version = version;
    refused(request, "python_version");
}

TEST_CASE("hostile tokens are refused and not repeated") {
    const auto token = GENERATE(as<std::string>(), "secret\nb", "secret b", std::string("secret\0", 7),
                                "secret\r", "", std::string(5000, 's'));
    auto request = good();
    request.auth_token = token;
    const Error error = error_of([&] { check_request(request, strict()); });
    CHECK(error.message().find("auth_token") != std::string::npos);
    CHECK(std::string(error.what()).find("secret") == std::string::npos);
}

TEST_CASE("hostile commands, environments, ports and paths are refused") {
    auto request = good();
    SECTION("no command") {
        request.startup_cmd = {};
        refused(request, "startup_cmd");
    }
    SECTION("an empty program") {
        request.startup_cmd = {""};
        refused(request, "startup_cmd");
    }
    SECTION("NUL in an argument") {
        request.startup_cmd = {"a", std::string("b\0c", 3)};
        refused(request, "startup_cmd");
    }
    SECTION("names of variables") {
        const auto name = GENERATE(as<std::string>(), "A B", "1A", "", "A=B", "A\nRUN", "\xc3\x84", "A-B");
        request.environment = {{name, "x"}};
        refused(request, "environment");
    }
    SECTION("NUL in a value") {
        request.environment = {{"A", std::string("x\0", 2)}};
        refused(request, "environment");
    }
    SECTION("too much of it") {
        request.environment = {{"A", std::string(129 << 10, 'x')}};
        refused(request, "environment");
    }
    SECTION("too much of it with what is added") {
        request.environment = {{"A", std::string((128 << 10) - 3, 'x')}};  // by itself exactly the limit
        refused(request, "environment");
        request.environment.at("A").resize((128 << 10) - 3 - std::string("PORT=8080\n").size());
        CHECK_NOTHROW(check_request(request, strict()));
    }
    SECTION("ports") {
        request.expose_port = GENERATE(0, -1, 65536);
        refused(request, "expose_port");
    }
    SECTION("paths") {
        request.health_path =
            GENERATE(as<std::string>(), "health", "//host/x", "/a//b", "/a b", "/a\\b", "/a#b", "/a\r\nX: y",
                     "", "http://x/", "/" + std::string(1024, 'x'), std::string("/\0", 2), "/\xc3\xa4");
        refused(request, "health_path");
    }
}

TEST_CASE("ssh needs a key") {
    auto request = good();
    request.repo_url = "git@example.com:x.git";
    refused(request, "ssh_key_path");
    request.ssh_key_path = "deploy";
    CHECK(check_request(request, strict()).scheme == "ssh");
}

TEST_CASE("what is stored of a request has no secret") {
    auto request = good();
    request.auth_token = "canary-token";
    request.ssh_key_path = "canary-path";
    request.environment = {{"API_KEY", "canary-value"}};
    const auto text = to_json(public_request(request));
    CHECK(text.find("canary") == std::string::npos);
    CHECK(text.find("API_KEY") != std::string::npos);
}
