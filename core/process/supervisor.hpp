#pragma once

#include "core/process/role.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/context.hpp>

#include <cstdint>
#include <map>
#include <thread>

namespace minions::core {

/// Learns of the ends of processes of all instances, and tells those who watch: one thread, which sleeps
/// until a pidfd is ready. [any thread]
class ProcessSupervisor {
  public:
    ProcessSupervisor();
    /// Watchers see the end of their sockets without a message.
    ~ProcessSupervisor();
    ProcessSupervisor(const ProcessSupervisor&) = delete;
    ProcessSupervisor& operator=(const ProcessSupervisor&) = delete;

    /// SupervisedProcess::end of that process.
    Fd watch(const RoleFiles& files, const shim::ProcessRecord& process);

    /// Tells the watchers of that process now: its records are about to go.
    void ended(const shim::ProcessRecord& process, const ProcessEnd& end);

    std::size_t watched() const { return watches_.lock()->size(); }

  private:
    struct Watch {
        RoleFiles files;
        shim::ProcessRecord record;
        Fd process;  ///< pidfd; empty once it is gone
        Fd shim;     ///< the same
        Fd to;       ///< the watcher
    };
    enum Part : std::uint64_t { of_process, of_shim, of_watcher, parts };

    /// What can be said now; nullopt while there is somebody to wait for.
    static std::optional<ProcessEnd> verdict(const Watch& watch);
    static void tell(const Watch& watch, const ProcessEnd& end);
    void run();
    void happened(std::uint64_t key);
    void add(int fd, std::uint64_t key, std::uint32_t events);

    Fd epoll_;
    EventFd stopping_;
    Sync<std::map<std::uint64_t, Watch>> watches_;
    std::uint64_t next_ = 1;  ///< under the lock of watches_
    std::thread thread_;      ///< last member
};

}  // namespace minions::core
