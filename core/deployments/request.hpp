#pragma once

#include "core/deployments/options.hpp"
#include "core/deployments/repo_url.hpp"

#include <minions/codec.hpp>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

enum class DockerfileChoice {
    generated,   ///< made from the repository's requirements.txt and pyproject.toml
    repository,  ///< the repository's own file `Dockerfile`
};

/// The body of POST /api/v1/vm/deploy.
struct DeployRequest {
    std::string repo_url;
    std::string branch = "main";
    std::string agent_name;
    std::optional<std::string> auth_token;
    std::optional<std::string> ssh_key_path;
    std::string python_version = "3.11";
    int expose_port = 8080;
    std::vector<std::string> startup_cmd = {"python", "main.py"};
    std::map<std::string, std::string> environment;
    std::string health_path = "/health";
    DockerfileChoice dockerfile = DockerfileChoice::generated;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit);
};

/// Checks every field against what is safe to use, by itself and without looking anything up, and returns the
/// repository's address in parts. Throws Error{invalid} that names the field and says what it may be.
RepoUrl check_request(const DeployRequest& request, const DeploymentOptions& options);

/// What the container gets: the request's variables, and PORT where they do not set it.
std::map<std::string, std::string> container_environment(const DeployRequest& request);

/// The rules of `git check-ref-format --branch`. Throws Error{invalid}.
void check_branch(std::string_view branch);

/// A path for an HTTP request: begins with one '/', printable ASCII without spaces, '\' and '#', at most
/// 1 KiB. Throws Error{invalid} about `field`.
void check_health_path(std::string_view path, std::string_view field);

/// 3.N or 3.N.M. Throws Error{invalid}.
void check_python_version(std::string_view version);

/// The request as it may be stored and shown: no token, no key path, and only the names of the environment.
Value public_request(const DeployRequest& request);

template <class Self, class Visit>
void DeployRequest::fields(Self& self, Visit&& visit) {
    visit("repo_url", self.repo_url,
          Field{.required = true, .max_size = 2048, .doc = "address of the git repository: https or ssh"});
    visit("branch", self.branch, Field{.max_size = 255, .doc = "branch to clone"});
    visit("agent_name", self.agent_name,
          Field{.required = true, .max_size = 40, .doc = "name of the agent; part of the container's name"});
    visit("auth_token", self.auth_token,
          Field{.secret = true, .max_size = 4096, .doc = "token for a private repository over https"});
    visit("ssh_key_path", self.ssh_key_path,
          Field{.max_size = 1024, .doc = "private key below deployments.key_dir, for ssh"});
    visit("python_version", self.python_version,
          Field{.max_size = 16, .doc = "3.N or 3.N.M: version of the base image"});
    visit("expose_port", self.expose_port,
          Field{.min = 1, .max = 65535, .doc = "port that the agent listens on"});
    visit("startup_cmd", self.startup_cmd,
          Field{.max_size = 1024, .doc = "command of the container, as argv"});
    visit("environment", self.environment,
          Field{.secret = true, .max_size = 4096, .doc = "environment variables of the container"});
    visit("health_path", self.health_path,
          Field{.max_size = 1024, .doc = "path that the container's health check asks"});
    visit("dockerfile", self.dockerfile, Field{.doc = "generated, or the repository's own Dockerfile"});
}

}  // namespace minions::core

namespace minions {
template <>
struct EnumWords<core::DockerfileChoice> {
    static constexpr std::string_view words[] = {"generated", "repository"};
};
}  // namespace minions
