#pragma once

#include "core/deployments/key_file.hpp"
#include "core/deployments/options.hpp"
#include "core/deployments/repo_url.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/spawn.hpp>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// What to clone, and with what. Every part has passed check_request().
struct CloneRequest {
    RepoUrl url;
    std::vector<std::string>
        addresses;  ///< of the host, as checked; git connects to no other. Empty for file
    std::string branch;
    const SecretBytes* token = nullptr;        ///< https and http
    const SecretBytes* key = nullptr;          ///< ssh
    const SecretBytes* known_hosts = nullptr;  ///< ssh: the file's contents
};

struct CloneLimits {
    Deadline deadline = no_deadline;
    int cancel_fd = -1;
};

/// Whom git runs as: nothing where the daemon is not root itself. Throws Error{unavailable} where the
/// configured user does not exist.
std::optional<Identity> git_identity(const DeploymentOptions& options);

/// Clones one branch, without its history, into `directory`/tree. `directory` exists, is empty and belongs to
/// git_identity(). Neither token nor key touches the disk, an argument or an environment: git and ssh read
/// them from inherited descriptors. Each line that git says goes to `log`, cleaned of control characters and
/// of the token. Throws failed with git's own reason, cancelled, deadline, too_large
/// (DeploymentOptions::max_clone_bytes). [any thread]
void clone_repository(const CloneRequest& request, const std::filesystem::path& directory,
                      const DeploymentOptions& options, const CloneLimits& limits,
                      const std::function<void(std::string_view)>& log);

/// What git was told, for the log: no secret is in it.
std::vector<std::string> git_arguments(const CloneRequest& request, const DeploymentOptions& options);

}  // namespace minions::core
