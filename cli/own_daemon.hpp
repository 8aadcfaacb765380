#pragma once

#include <minions/base/fd.hpp>
#include <minions/base/spawn.hpp>

#include <filesystem>
#include <string>

namespace minions::cli {

/// A daemon for one command, on a state directory whose own daemon is not running: it takes the directory's
/// lock, answers on a private socket, loads no runtime and touches no network, and is gone with this object.
/// For what concerns images alone.
class OwnDaemon {
  public:
    /// Returns once it answers. Throws Error with what it said if it does not (another daemon has the
    /// directory).
    explicit OwnDaemon(const std::string& state_directory);
    ~OwnDaemon();
    OwnDaemon(const OwnDaemon&) = delete;
    OwnDaemon& operator=(const OwnDaemon&) = delete;

    /// For --host.
    std::string address() const;

  private:
    void wait_until_ready(int output);

    std::filesystem::path directory_;
    Process process_;
};

}  // namespace minions::cli
