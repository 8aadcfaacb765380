#pragma once

#include "core/deployments/options.hpp"
#include "core/operations/operations.hpp"
#include "core/store/store.hpp"

#include <filesystem>
#include <string>

namespace minions::core {

/// The private directory of one deployment's clone, which belongs to whom git runs as. Its journal row (of
/// core's own, kind "directory", key the path) is committed before it exists, and removed when it is gone.
class WorkDirectory {
  public:
    /// Throws Error (no_space, unavailable).
    WorkDirectory(Store& store, const DeploymentOptions& options, const std::string& operation,
                  const std::string& deployment);
    /// As remove(); what fails is left to the next start, which finds the row.
    ~WorkDirectory();
    WorkDirectory(const WorkDirectory&) = delete;
    WorkDirectory& operator=(const WorkDirectory&) = delete;

    const std::filesystem::path& path() const noexcept { return path_; }
    /// Throws Error, keeping the row. Repeatable.
    void remove();

  private:
    Store& store_;
    std::filesystem::path path_;
    std::int64_t row_ = 0;
};

/// Removes the directories of deployments that a former daemon left, by their journal rows, after having
/// ended the processes that still work in them. What resists keeps its row; returns a sentence for each.
std::vector<std::string> remove_abandoned_directories(Store& store);

}  // namespace minions::core
