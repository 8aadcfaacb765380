#include "core/deployments/request.hpp"

#include "core/deployments/addresses.hpp"
#include "core/deployments/key_file.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace minions::core {
namespace {

constexpr std::size_t max_environment_bytes = 128 * 1024;
constexpr std::size_t max_command_bytes = 128 * 1024;

[[noreturn]] void refuse(std::string_view field, std::string_view what, std::string cure = {}) {
    throw Error(Code::invalid, fmt::format("field '{}' {}", field, what), std::move(cure));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower_alnum(char c) { return (c >= 'a' && c <= 'z') || is_digit(c); }

void check_agent_name(std::string_view name) {
    const bool charset =
        std::all_of(name.begin(), name.end(), [](char c) { return is_lower_alnum(c) || c == '-'; });
    if (name.empty() || name.size() > 40 || !charset || name.front() == '-' || name.back() == '-') {
        refuse("agent_name", "must be 1 to 40 of a-z, 0-9 and '-', and begin and end with a letter or digit");
    }
}

/// A decimal number without leading zeros, of at most three digits, at the front of `text`.
bool take_number(std::string_view& text) {
    std::size_t digits = 0;
    while (digits < text.size() && is_digit(text[digits])) ++digits;
    if (digits == 0 || digits > 3 || (digits > 1 && text.front() == '0')) return false;
    text.remove_prefix(digits);
    return true;
}

void check_auth_token(const std::optional<std::string>& token) {
    if (!token) return;
    const bool printable =
        std::all_of(token->begin(), token->end(), [](char c) { return c > ' ' && c <= '~'; });
    if (token->empty() || token->size() > 4096 || !printable) {
        refuse("auth_token", "must be 1 to 4096 printable ASCII characters without spaces",
               "leave it out for a public repository");
    }
}

void check_startup_cmd(const std::vector<std::string>& command) {
    if (command.empty() || command.front().empty()) {
        refuse("startup_cmd", "must name a program", "for example [\"python\", \"main.py\"]");
    }
    std::size_t bytes = 0;
    for (const auto& argument : command) {
        bytes += argument.size() + 1;
        if (argument.find('\0') != std::string::npos) refuse("startup_cmd", "must not contain NUL");
    }
    if (bytes > max_command_bytes) refuse("startup_cmd", "must have at most 128 KiB in all");
}

void check_environment(const std::map<std::string, std::string>& environment) {
    std::size_t bytes = 0;
    for (const auto& [name, value] : environment) {
        const bool charset = std::all_of(name.begin(), name.end(), [](char c) {
            return is_lower_alnum(c) || (c >= 'A' && c <= 'Z') || c == '_';
        });
        if (name.empty() || !charset || is_digit(name.front())) {
            refuse("environment",
                   "has a name that is not made of letters, digits and '_', beginning with no digit");
        }
        if (value.find('\0') != std::string::npos) {
            refuse("environment." + name, "must not contain NUL");
        }
        bytes += name.size() + value.size() + 2;
    }
    if (bytes > max_environment_bytes) refuse("environment", "must have at most 128 KiB in all");
}

void check_ref_component(std::string_view component) {
    if (component.empty()) refuse("branch", "must not begin or end with '/' nor contain '//'");
    if (component.front() == '.') refuse("branch", "must not have a part that begins with '.'");
    if (component.ends_with(".lock")) refuse("branch", "must not have a part that ends with '.lock'");
}

}  // namespace

void check_branch(std::string_view branch) {
    if (branch.empty()) refuse("branch", "must not be empty");
    if (branch.size() > 255) refuse("branch", "must have at most 255 bytes");
    if (branch.front() == '-') refuse("branch", "must not begin with '-'");
    if (branch == "@" || branch == "HEAD") refuse("branch", "must be the name of a branch");
    for (const char c : branch) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte <= ' ' || byte == 0x7f || std::string_view("~^:?*[\\").find(c) != std::string_view::npos) {
            refuse("branch", "must not contain spaces, control characters or any of ~ ^ : ? * [ \\");
        }
    }
    if (branch.find("..") != std::string_view::npos) refuse("branch", "must not contain '..'");
    if (branch.find("@{") != std::string_view::npos) refuse("branch", "must not contain '@{'");
    if (branch.back() == '.') refuse("branch", "must not end with '.'");
    for (std::size_t at = 0; at <= branch.size();) {
        const auto slash = std::min(branch.find('/', at), branch.size());
        check_ref_component(branch.substr(at, slash - at));
        at = slash + 1;
    }
}

void check_health_path(std::string_view path, std::string_view field) {
    if (path.empty() || path.front() != '/') refuse(field, "must begin with '/'", "for example \"/health\"");
    if (path.size() > 1024) refuse(field, "must have at most 1024 bytes");
    if (path.find("//") != std::string_view::npos) refuse(field, "must not contain '//'");
    for (const char c : path) {
        if (c <= ' ' || c > '~' || c == '\\' || c == '#') {
            refuse(field, "must be printable ASCII without spaces, '\\' and '#'",
                   "percent-encode other characters");
        }
    }
}

void check_python_version(std::string_view version) {
    bool good = version.substr(0, 2) == "3.";
    auto rest = good ? version.substr(2) : version;
    good = good && take_number(rest);
    if (good && !rest.empty()) {
        good = rest.front() == '.';
        rest.remove_prefix(1);
        good = good && take_number(rest) && rest.empty();
    }
    if (!good) refuse("python_version", "must be of the form 3.N or 3.N.M", "for example \"3.11\"");
}

RepoUrl check_request(const DeployRequest& request, const DeploymentOptions& options) {
    RepoUrl url = parse_repo_url(request.repo_url, options.allowed_schemes);
    // git's libraries are given what was judged here, and not another notation to read their own way.
    url.host = canonical_host(url.host);
    if (!options.allow_private_addresses && url.scheme != "file") refuse_private_host(url.host);
    check_branch(request.branch);
    check_agent_name(request.agent_name);
    check_auth_token(request.auth_token);
    if (request.ssh_key_path) check_key_path(*request.ssh_key_path, options.key_dir);
    if (url.scheme == "ssh") {
        if (!request.ssh_key_path) {
            refuse("ssh_key_path", "is required for a repository over ssh",
                   "name a key below deployments.key_dir, or use https");
        }
    }
    check_python_version(request.python_version);
    if (request.expose_port < 1 || request.expose_port > 65535) {
        refuse("expose_port", "must be a number from 1 to 65535");
    }
    check_startup_cmd(request.startup_cmd);
    check_environment(container_environment(request));
    check_health_path(request.health_path, "health_path");
    return url;
}

std::map<std::string, std::string> container_environment(const DeployRequest& request) {
    auto environment = request.environment;
    environment.try_emplace("PORT", std::to_string(request.expose_port));
    return environment;
}

Value public_request(const DeployRequest& request) {
    DeployRequest copy = request;
    copy.auth_token.reset();
    copy.ssh_key_path.reset();
    Value value = encode(copy, Secrets::redact);
    auto& members = *value.if_object();
    std::erase_if(members, [](const Value::Member& member) {
        return member.first == "auth_token" || member.first == "ssh_key_path";
    });
    return value;
}

}  // namespace minions::core
