#include "core/access/access.hpp"

#include "core/access/socket_owner.hpp"

#include <minions/error.hpp>

#include <Poco/Net/HTTPRequest.h>
#include <fmt/format.h>

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace minions::core {
namespace {

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

// "LocalHost.:3000" → "localhost", "[::1]:3000" → "::1".
std::string host_name(std::string_view host) {
    if (!host.empty() && host.front() == '[') {
        return lower(host.substr(1, std::min(host.find(']'), host.size()) - 1));
    }
    std::string name = lower(host.substr(0, host.find(':')));
    if (!name.empty() && name.back() == '.') name.pop_back();
    return name;
}

bool is_forwarded(const http::Request& request) {
    const auto& head = request.head();
    return std::any_of(head.begin(), head.end(), [](const auto& header) {
        const std::string name = lower(header.first);
        return name == "forwarded" || name == "via" || name == "x-real-ip" ||
               name.rfind("x-forwarded-", 0) == 0;
    });
}

std::optional<gid_t> real_group_id(const std::string& name) {
    std::array<char, 4096> buffer;
    group entry{};
    group* found = nullptr;
    if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
        return {};
    return entry.gr_gid;
}

bool real_is_member(uid_t uid, gid_t gid) {
    std::array<char, 4096> buffer;
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
        return false;
    std::vector<gid_t> groups(64);
    int count = static_cast<int>(groups.size());
    if (::getgrouplist(entry.pw_name, entry.pw_gid, groups.data(), &count) < 0) {
        groups.resize(static_cast<std::size_t>(count));
        if (::getgrouplist(entry.pw_name, entry.pw_gid, groups.data(), &count) < 0) return false;
    }
    groups.resize(static_cast<std::size_t>(count));
    return std::find(groups.begin(), groups.end(), gid) != groups.end();
}

std::vector<std::string> real_machine_names() {
    char name[256] = {};
    if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return {};
    std::vector<std::string> names{lower(name)};
    const std::size_t dot = names.front().find('.');
    if (dot != std::string::npos) names.push_back(names.front().substr(0, dot));
    return names;
}

Scope scope_of(http::Permission permission) {
    switch (permission) {
        case http::Permission::none:
        case http::Permission::read:
            return Scope::read;
        case http::Permission::exec:
            return Scope::exec;
        case http::Permission::manage:
            return Scope::manage;
        case http::Permission::admin:
            break;
    }
    return Scope::admin;
}

}  // namespace

struct Access::Rules {
    AccessRules given;
    std::vector<std::string> hosts;  // lower case
    std::optional<gid_t> group;
};

Access::System Access::System::real() {
    return {::geteuid(), real_machine_names(), real_group_id, real_is_member};
}

Access::Access(AccessRules rules, std::shared_ptr<TokenStore> tokens, System system)
    : system_(std::move(system)), tokens_(std::move(tokens)) {
    set_rules(std::move(rules));
}

void Access::set_rules(AccessRules given) {
    auto rules = std::make_shared<Rules>();
    for (const auto& host : given.hosts) rules->hosts.push_back(host_name(host));
    for (const auto& name : system_.machine_names) rules->hosts.push_back(host_name(name));
    rules->hosts.push_back("localhost");
    rules->group = system_.group_id(given.group);
    rules->given = std::move(given);
    *rules_.lock() = std::move(rules);
}

Principal Access::admit(const http::Request& request, http::Permission permission) const {
    const auto rules = *rules_.lock();
    Principal caller = identify(request, *rules);
    const Scope needed = scope_of(permission);
    if (!includes(caller.scope, needed)) {
        throw Error(
            Code::forbidden,
            fmt::format("{} may not do this: it needs the scope '{}' and has '{}'", caller.name,
                        to_word(needed), to_word(caller.scope)),
            fmt::format("use a token with that scope (minions token create --scope {})", to_word(needed)));
    }
    return caller;
}

Principal Access::identify(const http::Request& request, const Rules& rules) const {
    if (const auto authorization = request.header("Authorization")) return by_token(*authorization);
    if (!request.peer) throw Error(Code::internal, "a request came from nowhere");
    Peer& peer = *request.peer;
    Principal caller =
        peer.kind == Peer::Kind::unix_socket ? by_unix_peer(peer, rules) : by_address(request, peer, rules);
    check_host(request, peer, rules);
    return caller;
}

Principal Access::by_token(std::string_view authorization) const {
    constexpr std::string_view scheme = "bearer ";
    if (lower(authorization.substr(0, scheme.size())) != scheme) {
        throw Error(Code::unauthenticated, "header 'Authorization' does not hold a bearer token",
                    "send 'Authorization: Bearer mn_…'");
    }
    std::string_view token = authorization.substr(scheme.size());
    while (!token.empty() && token.front() == ' ') token.remove_prefix(1);
    const std::string hash = hash_token(token);
    const auto found = tokens_ ? tokens_->find(hash) : std::nullopt;
    if (!found || !equal_in_constant_time(found->hash, hash)) {
        throw Error(Code::unauthenticated, "the token is not known here",
                    "make one with 'minions token create'");
    }
    if (found->expires && *found->expires <= std::chrono::system_clock::now()) {
        throw Error(Code::unauthenticated, fmt::format("the token '{}' has expired", found->name),
                    "make another with 'minions token create'");
    }
    return {fmt::format("token {}", found->name), found->scope};
}

bool Access::is_ours(uid_t uid, const Rules& rules) const {
    return uid == 0 || uid == system_.daemon_uid || (rules.group && system_.is_member(uid, *rules.group));
}

Principal Access::by_unix_peer(const Peer& peer, const Rules& rules) const {
    // The groups of the process count, not those of the account: they are what opened the socket.
    const bool member =
        rules.group && (peer.gid == *rules.group ||
                        std::find(peer.groups.begin(), peer.groups.end(), *rules.group) != peer.groups.end());
    if (member || peer.uid == 0 || peer.uid == system_.daemon_uid)
        return {fmt::format("uid {}", peer.uid), Scope::admin};
    throw Error(Code::forbidden, fmt::format("uid {} may not use this daemon", peer.uid),
                fmt::format("join the group '{}' and log in again, or send a token", rules.given.group));
}

Principal Access::by_address(const http::Request& request, Peer& peer, const Rules& rules) const {
    const auto remote = peer.remote_ip();
    if (!remote) throw Error(Code::internal, "a connection has no address");
    std::optional<uid_t> stranger;
    if (remote->is_loopback() && !is_forwarded(request)) {
        // Once known it stays: a connection does not change hands. What is not known is asked again.
        if (!peer.socket_owner) peer.socket_owner = find_socket_owner(peer);
        if (peer.socket_owner && is_ours(*peer.socket_owner, rules)) {
            return {fmt::format("uid {}", *peer.socket_owner), Scope::admin};
        }
        stranger = peer.socket_owner;
    }
    const TrustedNetwork* best = nullptr;
    for (const auto& trusted : rules.given.trusted) {
        const bool fits = remote->within(trusted.network, trusted.prefix);
        if (fits && (best == nullptr || trusted.prefix > best->prefix)) best = &trusted;
    }
    if (best != nullptr) return {remote->text(), best->scope};
    if (stranger) {
        throw Error(Code::forbidden, fmt::format("uid {} may not use this daemon", *stranger),
                    fmt::format("join the group '{}', or send a token", rules.given.group));
    }
    throw Error(
        Code::unauthenticated, fmt::format("nothing tells who calls from {}", remote->text()),
        fmt::format("send a token ('Authorization: Bearer mn_…', made with 'minions token create'), or have "
                    "the daemon trust this network (access.trusted = {}/{}=manage)",
                    remote->text(), remote->bits()));
}

// DNS rebinding: a page's own name, made to point here. And pages of other origins that send forms.
void Access::check_host(const http::Request& request, const Peer& peer, const Rules& rules) const {
    const std::string_view host = request.header("Host").value_or("");
    // Browsers do not speak over Unix sockets, and what clients put into Host there is arbitrary. HTTP/1.0
    // may lack it.
    if (peer.kind == Peer::Kind::tcp && !host.empty()) {
        const std::string name = host_name(host);
        const auto literal = IpAddress::parse(name);
        const auto local = peer.local_ip();
        const bool ours = (literal && (literal->is_loopback() || (local && *literal == *local))) ||
                          std::find(rules.hosts.begin(), rules.hosts.end(), name) != rules.hosts.end();
        if (!ours) {
            throw Error(
                Code::misdirected, fmt::format("'{}' is not a name of this daemon", name),
                fmt::format("add it to the configuration (access.hosts = {}), or send a token", name));
        }
    }
    const auto origin = request.header("Origin");
    if (!origin) return;
    const std::size_t scheme = origin->find("://");
    const bool own =
        scheme != std::string_view::npos && lower(origin->substr(scheme + 3)) == lower(host) && !host.empty();
    if (!own) {
        throw Error(Code::forbidden, "pages of other origins may not call without a token",
                    "send a token, or no 'Origin'");
    }
}

}  // namespace minions::core
