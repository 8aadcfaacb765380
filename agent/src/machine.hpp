#pragma once

#include "task.hpp"

#include <minions/agent/loop.hpp>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace minions::agent {

/// The machine that the agent serves: what does not depend on a session. Belongs to the loop's thread.
struct Machine {
    explicit Machine(Loop& loop);

    /// Answers a request that is done at once. Throws Refusal, std::system_error.
    Fields answer(const Fields& request);
    /// Lets writing go on, if it was stopped by `freeze`.
    void thaw();

    std::string software;  ///< our version
    std::string boot_id;   ///< another after each boot of the machine
    /// Ends the machine; by default it asks the init that runs.
    std::function<void(bool reboot)> power;

  private:
    Fields status();
    void freeze();

    Loop& loop_;
    std::vector<std::string> frozen_;  ///< mount points
    std::optional<Loop::TimerId> thaw_timer_;
    struct CpuTime {
        std::int64_t busy = 0;
        std::int64_t all = 0;
    };
    CpuTime last_cpu_;
};

/// Configures the network as the request says: network.cpp.
void set_network(const Fields& request);
/// Brings an interface up, as `lo` needs it where nobody else does.
void set_interface_up(const char* name);
/// Lets the root file system fill its device, where that is ext4 on a whole disk: power.cpp.
void grow_root();
/// Brings CPUs online that were plugged in: Linux leaves them off. Those that resist stay off.
void use_all_cpus();
/// Does so again whenever one is plugged, for as long as the descriptor is open: the kernel has it some time
/// after the VMM gave it. Empty where the kernel does not tell.
Fd watch_for_cpus(Loop& loop);
/// Asks the running init to end the machine.
void ask_init(bool reboot);

}  // namespace minions::agent
