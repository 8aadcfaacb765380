#pragma once

#include "core/process/options.hpp"
#include "core/process/role.hpp"

#include <minions/base/spawn.hpp>
#include <minions/context.hpp>

#include <optional>
#include <string>
#include <vector>

namespace minions::core {

/// What a shim is asked to run.
struct ShimRequest {
    std::string directory;
    std::string role;
    std::vector<std::string> argv;
    std::vector<std::string> env;  ///< "NAME=value"
    std::optional<Identity> identity;
    std::vector<Fd> pass;
};

/// A process that its shim has started and ends again unless it is kept.
class StartedProcess {
  public:
    /// Returns once the process runs. Throws conflict (the lock of its role is held), failed, unavailable,
    /// no_space, cancelled, deadline; then nothing is left.
    StartedProcess(const ProcessOptions& options, const Context& ctx, ShimRequest request);
    StartedProcess(const StartedProcess&) = delete;
    StartedProcess& operator=(const StartedProcess&) = delete;
    /// Waits until what was not kept is gone.
    ~StartedProcess();

    const shim::ProcessRecord& record() const noexcept { return record_; }
    void keep();

  private:
    shim::Report hear(const Context& ctx) const;
    void give_up() noexcept;

    Fd shim_;
    shim::ProcessRecord record_;
};

}  // namespace minions::core
