#pragma once

#include <minions/base/fd.hpp>
#include <minions/base/sync.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

namespace minions {
class EventFd;
}

namespace minions::core {

class DeploymentLogs;

/// The log of a deployment under way. write() from any thread; the log is complete, and its followers end,
/// when this is destroyed. One that nothing was written to goes then: its deployment never began.
class DeploymentLog {
  public:
    DeploymentLog(DeploymentLogs& logs, std::string id, Fd file, std::uint64_t max_bytes);
    ~DeploymentLog();
    DeploymentLog(const DeploymentLog&) = delete;
    DeploymentLog& operator=(const DeploymentLog&) = delete;

    /// Appends; past the size limit it only remembers the end, which is written when the log is finished.
    /// Never throws: a full disk costs the log, not the deployment.
    void write(std::string_view bytes) noexcept;
    void line(std::string_view text) noexcept;
    /// The last `lines` complete or begun lines.
    std::string tail(std::size_t lines) const;

  private:
    struct State {
        std::uint64_t written = 0;
        bool cut = false;
        std::string end;  ///< the last bytes, whatever became of the file
    };
    void append(std::string_view bytes) noexcept;

    DeploymentLogs& logs_;
    std::string id_;
    Fd file_;
    std::uint64_t max_bytes_;
    Sync<State> state_;
};

/// The build logs of all deployments: one file each, 0600, readable while they grow. [any thread]
class DeploymentLogs {
  public:
    /// Makes the directory (0700). Throws Error.
    DeploymentLogs(std::filesystem::path directory, std::uint64_t max_bytes, std::size_t kept);

    /// Begins the log of a deployment that has none. Throws Error.
    std::unique_ptr<DeploymentLog> create(const std::string& id);

    /// Hands the log's bytes to `sink`; with `follow`, further ones as they come, until the log is complete.
    /// Returns early once `cancel_fd` (may be -1) is readable, and passes on what `sink` throws. Throws
    /// Error{not_found} before the first byte where there is no log of that id (any more).
    void read(const std::string& id, bool follow, int cancel_fd,
              const std::function<void(std::string_view)>& sink);

    /// Removes the oldest logs beyond what is kept. Logs under way stay.
    void prune() noexcept;

  private:
    friend class DeploymentLog;
    struct Growing {
        std::set<EventFd*> readers;
    };
    std::filesystem::path path_of(const std::string& id) const;
    void grown(const std::string& id) noexcept;
    void complete(const std::string& id) noexcept;

    std::filesystem::path directory_;
    std::uint64_t max_bytes_;
    std::size_t kept_;
    Sync<std::map<std::string, Growing>> growing_;
};

}  // namespace minions::core
