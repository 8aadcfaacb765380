#pragma once

#include "core/operations/call_context.hpp"
#include "core/operations/instance_locks.hpp"
#include "core/process/options.hpp"
#include "core/process/supervisor.hpp"
#include "core/store/store.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// What the calls of all instances share. Outlives them.
struct ProcessParts {
    Store& store;
    InstanceLocks& locks;
    ProcessSupervisor& supervisor;
    ProcessOptions options;
};

/// The processes of one call's instance.
class CallProcesses final : public Processes {
  public:
    CallProcesses(ProcessParts& parts, VmCall call);

    ProcessHome home() override;
    SupervisedProcess start(const ProcessSpec& spec, std::vector<Fd> pass) override;
    std::optional<SupervisedProcess> find(std::string_view role) override;
    void kill(std::string_view role) override;

    /// Whether release() undoes rows of that kind.
    static bool owns(std::string_view kind) { return kind == "process" || kind == "directory"; }
    /// As VmServices::release(), for what it owns.
    void release(const JournalRow& row);
    /// Ends and forgets every process of the instance.
    void kill_all();

  private:
    RoleFiles files(std::string_view role) const;
    std::int64_t intend(const std::string& role);
    void forget(const std::string& role);
    void end(const RoleFiles& files);
    void end_holders(const RoleFiles& files);
    void wait_gone(const Fd& process, std::string_view what) const;

    ProcessParts& parts_;
    const VmCall call_;
};

}  // namespace minions::core
