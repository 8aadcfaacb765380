#include "core/deployments/repo_url.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace minions::core {
namespace {

constexpr std::size_t max_length = 2048;

struct Scheme {
    std::string_view name;
    int port;
};
constexpr Scheme schemes[] = {{"https", 443}, {"ssh", 22}, {"http", 80}, {"file", 0}};

[[noreturn]] void refuse(const std::string& what, const std::string& cure = {}) {
    throw Error(Code::invalid, "field 'repo_url' " + what, cure);
}

bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return result;
}

void check_characters(std::string_view text) {
    if (text.empty()) refuse("must not be empty");
    if (text.size() > max_length) refuse(fmt::format("must have at most {} bytes", max_length));
    if (text.front() == '-') refuse("must not begin with '-'");
    if (text.find("::") != std::string_view::npos && text.find('[') == std::string_view::npos) {
        refuse("must not name a remote helper ('::')", "use https://host/path or ssh://user@host/path");
    }
    for (const char c : text) {
        if (c <= ' ' || c > '~') {
            refuse("must consist of printable ASCII without spaces", "percent-encode other characters");
        }
        if (c == '\\' || c == '#' || c == '?' || c == '"' || c == '\'' || c == '`' || c == '<' || c == '>') {
            refuse(fmt::format("must not contain the character {}", c));
        }
    }
}

/// The scheme's lower-case name, checked against what is allowed.
std::string check_scheme(std::string_view given, const std::vector<std::string>& allowed) {
    std::string scheme = lower(given);
    const bool known = std::any_of(std::begin(schemes), std::end(schemes),
                                   [&](const Scheme& s) { return s.name == scheme; });
    if (!known || std::find(allowed.begin(), allowed.end(), scheme) == allowed.end()) {
        refuse(fmt::format("has the scheme '{}', but only {} may be used here", scheme,
                           fmt::join(allowed, ", ")),
               known ? "the setting deployments.allowed_schemes can allow it" : "");
    }
    return scheme;
}

void check_host(std::string_view host) {
    if (host.empty()) refuse("names no host");
    if (host.size() > 253) refuse("has a host name of more than 253 characters");
    const bool charset = std::all_of(host.begin(), host.end(),
                                     [](char c) { return is_alnum(c) || c == '.' || c == '-' || c == '_'; });
    if (!charset || !is_alnum(host.front()) || host.find("..") != std::string_view::npos) {
        refuse("has a host that is neither a host name nor an address");
    }
}

void check_user(std::string_view user) {
    const bool charset = std::all_of(user.begin(), user.end(),
                                     [](char c) { return is_alnum(c) || c == '.' || c == '-' || c == '_'; });
    if (user.empty() || user.size() > 64 || !charset || !(is_alnum(user.front()) || user.front() == '_')) {
        refuse("has a user that is no plain user name", "use ssh://git@host/path, without a password");
    }
}

int parse_port(std::string_view text) {
    int port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc() || end != text.data() + text.size() || port < 1 || port > 65535) {
        refuse("has a port that is no number from 1 to 65535");
    }
    return port;
}

/// host, [address], with or without :port.
void parse_authority(std::string_view text, RepoUrl& url) {
    std::string_view rest;
    if (!text.empty() && text.front() == '[') {
        const auto close = text.find(']');
        if (close == std::string_view::npos) refuse("has a '[' without its ']'");
        url.host = lower(text.substr(1, close - 1));
        in6_addr address{};
        if (::inet_pton(AF_INET6, url.host.c_str(), &address) != 1) {
            refuse("has brackets around something that is no IPv6 address");
        }
        rest = text.substr(close + 1);
    } else {
        const auto colon = text.find(':');
        url.host = lower(text.substr(0, colon));
        check_host(url.host);
        rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
    }
    if (rest.empty()) return;
    if (rest.front() != ':') refuse("has something between host and path");
    url.port = parse_port(rest.substr(1));
}

void check_path(std::string_view path) {
    if (path.empty() || path == "/") refuse("names no repository on its host");
    // git passes the path on to a program at the other end, or reads it as an option.
    if (path.front() == '-' || path.substr(0, 2) == "/-") refuse("has a path that begins with '-'");
}

RepoUrl parse_scp_form(std::string_view text, const std::vector<std::string>& allowed) {
    const auto at = text.find('@');
    const auto colon = text.find(':');
    if (at == std::string_view::npos || colon == std::string_view::npos || colon < at ||
        text.substr(0, at).find('/') != std::string_view::npos) {
        refuse("is no address of a repository",
               "use https://host/path, ssh://user@host/path or user@host:path");
    }
    RepoUrl url;
    url.scp_form = true;
    url.scheme = check_scheme("ssh", allowed);
    url.user = text.substr(0, at);
    check_user(url.user);
    const auto authority = text.substr(at + 1);
    if (authority.empty()) refuse("names no host");
    const auto bracket = authority.front() == '[' ? authority.find(']') : 0;
    if (bracket == std::string_view::npos) refuse("has a '[' without its ']'");
    const auto split = authority.find(':', bracket);
    if (split == std::string_view::npos) refuse("names no repository on its host");
    parse_authority(authority.substr(0, split), url);
    url.path = authority.substr(split + 1);
    check_path(url.path);
    return url;
}

}  // namespace

int RepoUrl::effective_port() const noexcept {
    if (port != 0) return port;
    for (const auto& known : schemes) {
        if (known.name == scheme) return known.port;
    }
    return 0;
}

std::string RepoUrl::url_host() const {
    return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

std::string RepoUrl::text() const {
    if (scp_form) return fmt::format("{}@{}:{}", user, url_host(), path);
    return fmt::format("{}://{}{}{}{}", scheme, user.empty() ? "" : user + "@", url_host(),
                       port == 0 ? "" : fmt::format(":{}", port), path);
}

RepoUrl parse_repo_url(std::string_view text, const std::vector<std::string>& allowed_schemes) {
    check_characters(text);
    const auto separator = text.find("://");
    if (separator == std::string_view::npos) return parse_scp_form(text, allowed_schemes);

    RepoUrl url;
    url.scheme = check_scheme(text.substr(0, separator), allowed_schemes);
    const auto rest = text.substr(separator + 3);
    const auto slash = rest.find('/');
    if (slash == std::string_view::npos) refuse("names no repository on its host");
    auto authority = rest.substr(0, slash);
    url.path = rest.substr(slash);
    check_path(url.path);
    if (url.scheme == "file") {
        if (!authority.empty()) refuse("has a host, which a file:// address must not have");
        return url;
    }
    if (const auto at = authority.find('@'); at != std::string_view::npos) {
        if (url.scheme != "ssh") {
            refuse("must not contain a user name or password", "give the token in 'auth_token'");
        }
        url.user = authority.substr(0, at);
        check_user(url.user);
        authority = authority.substr(at + 1);
    }
    parse_authority(authority, url);
    return url;
}

}  // namespace minions::core
