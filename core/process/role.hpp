#pragma once

#include "shim/records.hpp"

#include <minions/base/fd.hpp>
#include <minions/context.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace minions::core {

/// A pidfd of the process that has this pid and began at that time; empty if it has ended or never was.
Fd open_process(pid_t pid, std::uint64_t start_time);

/// The files by which the process of one role of an instance is known.
class RoleFiles {
  public:
    /// Throws invalid for what is no role.
    RoleFiles(const std::filesystem::path& directory, std::string_view role);

    const std::string& role() const noexcept { return role_; }
    std::string lock() const { return base_ + ".lock"; }

    /// What the shim wrote about the last process; nullopt if there was none. One that a crash of the host
    /// left unreadable, or of an earlier boot, has no pid.
    std::optional<shim::ProcessRecord> process() const;
    /// How that process ended, as its shim saw it.
    std::optional<ProcessEnd> end_of(const shim::ProcessRecord& process) const;
    /// Whether something holds the lock: a shim, or a process whose shim is gone.
    bool locked() const;
    /// pidfds of the processes that have the lock's file open, wherever they come from: of a process whose
    /// shim was killed before it could record it, or of what such a one left behind. Looks at every process
    /// of this host.
    std::vector<Fd> holders() const;
    /// Removes all of them but the outputs.
    void remove() const;

  private:
    std::string role_;
    std::string base_;
};

}  // namespace minions::core
