#pragma once

#include "core/deployments/git.hpp"

#include <minions/base/spawn.hpp>

#include <string>
#include <string_view>

namespace minions::core {

/// A sealed file in memory that `identity` (or, without one, this process) can open by /proc/self/fd/N once
/// it is inherited: for secrets and scripts, which so never lie on a disk that may be kept or mounted noexec.
/// Throws Error.
Fd memory_file(std::string_view contents, mode_t mode, const std::optional<Identity>& identity);

/// Adds to `spawn` what git needs to reach the repository: environment and descriptors from 3 on. Token and
/// key are in the descriptors alone.
void add_transport(SpawnOptions& spawn, const CloneRequest& request, const DeploymentOptions& options,
                   const std::filesystem::path& directory);

}  // namespace minions::core
