#include "core/access/access.hpp"

#include <minions/error.hpp>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>

#include <map>
#include <set>

using namespace minions;
using namespace minions::core;
using http::Permission;
using http::Request;

namespace {

constexpr gid_t our_group = 5000;
constexpr uid_t daemon_user = 900;

struct Tokens : TokenStore {
    std::map<std::string, Token, std::less<>> all;
    std::string add(std::string name, Scope scope,
                    std::optional<std::chrono::system_clock::time_point> expires = {}) {
        const std::string token = generate_token();
        all[hash_token(token)] = {"id", std::move(name), hash_token(token), scope, expires};
        return token;
    }
    std::optional<Token> find(std::string_view hash) override {
        const auto found = all.find(hash);
        return found == all.end() ? std::nullopt : std::optional(found->second);
    }
};

struct World {
    std::shared_ptr<Tokens> tokens = std::make_shared<Tokens>();
    AccessRules rules;
    Access access() const {
        return Access(rules, tokens,
                      {daemon_user,
                       {"Box"},
                       [](const std::string& name) {
                           return name == "minions" ? std::optional<gid_t>(our_group) : std::nullopt;
                       },
                       [](uid_t uid, gid_t) { return uid == 1001; }});
    }
    Principal admit(const Request& request, Permission needed = Permission::read) const {
        return access().admit(request, needed);
    }
    Code refusal(const Request& request, Permission needed = Permission::read) const {
        try {
            access().admit(request, needed);
        } catch (const Error& error) {
            return error.code();
        }
        FAIL("was let in");
        return Code::internal;
    }
};

Request over_unix(uid_t uid, gid_t gid = 100, std::vector<gid_t> groups = {}) {
    Request request("GET", "/");
    request.peer = std::make_shared<Peer>();
    request.peer->uid = uid;
    request.peer->gid = gid;
    request.peer->groups = std::move(groups);
    return request;
}

sockaddr_storage address(const std::string& ip) {
    sockaddr_storage out{};
    if (ip.find(':') == std::string::npos) {
        out.ss_family = AF_INET;
        ::inet_pton(AF_INET, ip.c_str(), &reinterpret_cast<sockaddr_in&>(out).sin_addr);
    } else {
        out.ss_family = AF_INET6;
        ::inet_pton(AF_INET6, ip.c_str(), &reinterpret_cast<sockaddr_in6&>(out).sin6_addr);
    }
    return out;
}

Request over_tcp(const std::string& remote, std::optional<uid_t> owner = {},
                 const std::string& local = "127.0.0.1") {
    Request request("GET", "/");
    request.peer = std::make_shared<Peer>();
    request.peer->kind = Peer::Kind::tcp;
    request.peer->remote = address(remote);
    request.peer->local = address(local);
    request.peer->socket_owner = owner;
    request.set_header("Host", "localhost:3000");
    return request;
}

Request with(Request request, const std::string& name, const std::string& value) {
    request.set_header(name, value);
    return request;
}

}  // namespace

TEST_CASE("scopes include each other in order") {
    CHECK(includes(Scope::admin, Scope::manage));
    CHECK(includes(Scope::manage, Scope::exec));
    CHECK(includes(Scope::exec, Scope::read));
    CHECK_FALSE(includes(Scope::read, Scope::exec));
    CHECK(scope_from_word("manage") == Scope::manage);
    CHECK_FALSE(scope_from_word("Manage"));
}

TEST_CASE("Unix sockets: root, the daemon's user and the group") {
    const World world;
    CHECK(world.admit(over_unix(0), Permission::admin).scope == Scope::admin);
    CHECK(world.admit(over_unix(daemon_user), Permission::admin).name == "uid 900");
    CHECK(world.admit(over_unix(1000, our_group)).scope == Scope::admin);
    CHECK(world.admit(over_unix(1000, 100, {7, our_group})).scope == Scope::admin);
    CHECK(world.refusal(over_unix(1000, 100, {7, 8})) == Code::forbidden);
    CHECK(world.refusal(over_unix(static_cast<uid_t>(-1))) == Code::forbidden);
    CHECK(world.admit(with(over_unix(0), "Host", "anything")).scope == Scope::admin);
}

TEST_CASE("loopback: the owner of the socket, and no proxy in between") {
    const World world;
    CHECK(world.admit(over_tcp("127.0.0.1", 0), Permission::admin).scope == Scope::admin);
    CHECK(world.admit(over_tcp("::1", 1001, "::1")).scope == Scope::admin);
    CHECK(world.refusal(over_tcp("127.0.0.1", 1000)) == Code::forbidden);
    // Nobody has port 0: the kernel finds no such socket.
    CHECK(world.refusal(over_tcp("127.0.0.1")) == Code::unauthenticated);
    for (const char* header : {"Forwarded", "X-Forwarded-For", "x-forwarded-proto", "Via", "X-Real-IP"}) {
        INFO(header);
        CHECK(world.refusal(with(over_tcp("127.0.0.1", 0), header, "1.2.3.4")) == Code::unauthenticated);
    }
    // An owner counts for loopback only, whatever has been cached.
    CHECK(world.refusal(over_tcp("10.0.0.2", 0, "10.0.0.1")) == Code::unauthenticated);
}

TEST_CASE("callers that nothing is known of are told both ways to go on") {
    const World world;
    try {
        world.admit(over_tcp("100.64.1.2", {}, "100.64.0.1"));
        FAIL("was let in");
    } catch (const Error& error) {
        CHECK(error.code() == Code::unauthenticated);
        CHECK(error.hint().find("minions token create") != std::string::npos);
        CHECK(error.hint().find("access.trusted = 100.64.1.2/32=manage") != std::string::npos);
    }
}

TEST_CASE("tokens") {
    World world;
    const auto now = std::chrono::system_clock::now();
    const std::string reader = world.tokens->add("reader", Scope::read);
    const std::string admin = world.tokens->add("ci", Scope::admin, now + std::chrono::hours(1));
    const std::string expired = world.tokens->add("old", Scope::admin, now - std::chrono::seconds(1));
    const auto remote = [] { return over_tcp("203.0.113.9", {}, "203.0.113.1"); };
    CHECK(world.admit(with(remote(), "Authorization", "Bearer " + admin), Permission::admin).name ==
          "token ci");
    CHECK(world.admit(with(remote(), "Authorization", "bearer  " + reader)).scope == Scope::read);
    CHECK(world.refusal(with(remote(), "Authorization", "Bearer " + reader), Permission::exec) ==
          Code::forbidden);
    CHECK(world.refusal(with(remote(), "Authorization", "Bearer " + expired)) == Code::unauthenticated);
    CHECK(world.refusal(with(remote(), "Authorization", "Bearer " + admin + "x")) == Code::unauthenticated);
    CHECK(world.refusal(with(remote(), "Authorization", "Bearer ")) == Code::unauthenticated);
    CHECK(world.refusal(with(remote(), "Authorization", "Basic " + admin)) == Code::unauthenticated);
    // A token vouches whatever Host and Origin say; a wrong one is not made good by who sends it.
    CHECK(world
              .admit(with(with(with(remote(), "Authorization", "Bearer " + admin), "Host", "evil"), "Origin",
                          "http://evil"))
              .scope == Scope::admin);
    CHECK(world.refusal(with(over_unix(0), "Authorization", "Bearer mn_wrong")) == Code::unauthenticated);
    // The stored hash is no token.
    CHECK(world.refusal(with(remote(), "Authorization", "Bearer " + hash_token(admin))) ==
          Code::unauthenticated);
}

TEST_CASE("tokens are long, different, and hashed with SHA-256") {
    std::set<std::string> seen;
    for (int i = 0; i < 100; ++i) {
        const std::string token = generate_token();
        CHECK(token.size() == 3 + 43);
        CHECK(token.substr(0, 3) == "mn_");
        CHECK(token.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
              std::string::npos);
        CHECK(seen.insert(token).second);
    }
    CHECK(hash_token("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(equal_in_constant_time("abc", "abc"));
    CHECK_FALSE(equal_in_constant_time("abc", "abd"));
    CHECK_FALSE(equal_in_constant_time("abc", "ab"));
}

TEST_CASE("trusted networks give their scope, the narrowest first") {
    World world;
    world.rules.trusted = {parse_trusted("100.64.0.0/10=manage"), parse_trusted("100.64.5.0/24=read"),
                           parse_trusted("fd00::/8=exec"), parse_trusted("127.0.0.1=read")};
    const auto from = [](const std::string& ip) {
        return with(over_tcp(ip, {}, "100.64.0.1"), "Host", "100.64.0.1:3000");
    };
    CHECK(world.admit(from("100.127.255.255"), Permission::manage).scope == Scope::manage);
    CHECK(world.refusal(from("100.127.0.1"), Permission::admin) == Code::forbidden);
    CHECK(world.admit(from("100.64.5.9")).scope == Scope::read);
    CHECK(world.admit(with(over_tcp("fd12::1", {}, "fd12::2"), "Host", "[fd12::2]:3000")).scope ==
          Scope::exec);
    CHECK(world.refusal(from("100.128.0.1")) == Code::unauthenticated);
    CHECK(world.refusal(with(over_tcp("fe80::1", {}, "fe80::2"), "Host", "[fe80::2]")) ==
          Code::unauthenticated);
    CHECK(world.admit(from("::ffff:100.64.0.9")).scope == Scope::manage);
    CHECK(world.admit(over_tcp("127.0.0.1", 1000)).scope == Scope::read);
    for (const char* entry :
         {"", "=read", "10.0.0.0/8", "10.0.0.0/33=read", "10.0.0.0/=read", "10.0.0.0/-1=read",
          "10.0.0.0/8=root", "ten/8=read", "fd00::/129=read", "10.0.0/8=read", "10.0.0.0/8x=read"}) {
        INFO(entry);
        CHECK_THROWS_AS(parse_trusted(entry), Error);
    }
}

TEST_CASE("without a token Host must be ours") {
    World world;
    world.rules.hosts = {"minions.example"};
    world.rules.trusted = {parse_trusted("10.0.0.0/8=manage")};
    for (const char* host : {"localhost", "LOCALHOST:3000", "localhost.", "127.0.0.1:3000", "[::1]:3000",
                             "box", "BOX:1", "minions.example", "10.0.0.1:3000"}) {
        INFO(host);
        CHECK(world.admit(with(over_tcp("10.0.0.2", {}, "10.0.0.1"), "Host", host)).scope == Scope::manage);
    }
    for (const char* host : {"evil.example", "localhost.evil.example", "10.0.0.3", "127.0.0.1.evil.example",
                             "box.evil", "minions.example.evil", "[::2]"}) {
        INFO(host);
        CHECK(world.refusal(with(over_tcp("10.0.0.2", {}, "10.0.0.1"), "Host", host)) == Code::misdirected);
        CHECK(world.refusal(with(over_tcp("127.0.0.1", 0), "Host", host)) == Code::misdirected);
    }
}

TEST_CASE("without a token pages of other origins may not call") {
    const World world;
    CHECK(world.admit(with(over_tcp("127.0.0.1", 0), "Origin", "http://localhost:3000")).scope ==
          Scope::admin);
    for (const char* origin : {"http://evil.example", "http://localhost:8080", "http://localhost", "null", "",
                               "localhost:3000", "http://localhost:3000.evil.example"}) {
        INFO(origin);
        CHECK(world.refusal(with(over_tcp("127.0.0.1", 0), "Origin", origin)) == Code::forbidden);
    }
    CHECK(world.refusal(with(over_unix(0), "Origin", "http://evil.example")) == Code::forbidden);
}

TEST_CASE("rules can be replaced while requests come") {
    World world;
    Access access = world.access();
    const auto caller = [] { return with(over_tcp("10.0.0.2", {}, "10.0.0.1"), "Host", "localhost"); };
    CHECK_THROWS_AS(access.admit(caller(), Permission::read), Error);
    AccessRules rules;
    rules.trusted = {parse_trusted("10.0.0.2=exec")};
    access.set_rules(rules);
    CHECK(access.admit(caller(), Permission::exec).name == "10.0.0.2");
}

TEST_CASE("listening for strangers without any way to tell them apart is refused") {
    CHECK_NOTHROW(check_bind({"127.0.0.1:3000", "[::1]:3000", "127.5.5.5:1"}, false, {}));
    CHECK_NOTHROW(check_bind({"0.0.0.0:3000"}, true, {}));
    CHECK_NOTHROW(check_bind({"0.0.0.0:3000"}, false, {parse_trusted("100.64.0.0/10=manage")}));
    CHECK_THROWS_AS(check_bind({"0.0.0.0:3000"}, false, {parse_trusted("127.0.0.1=read")}), Error);
    for (const char* address : {"0.0.0.0:3000", "[::]:3000", "10.0.0.1:3000"}) {
        try {
            check_bind({"127.0.0.1:3000", address}, false, {});
            FAIL("was allowed");
        } catch (const Error& error) {
            CHECK(error.message().find(address) != std::string::npos);
            CHECK(error.hint().find("token create") != std::string::npos);
            CHECK(error.hint().find("access.trusted") != std::string::npos);
        }
    }
}
