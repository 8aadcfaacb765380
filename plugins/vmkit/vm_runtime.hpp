#pragma once

#include "plugins/vmkit/kvm.hpp"
#include "plugins/vmkit/life.hpp"
#include "plugins/vmkit/vm_state.hpp"

#include <minions/runtime.hpp>

#include <memory>
#include <string>

namespace minions::vmkit {

/// What the configuration of every VM runtime has. A runtime's own Config lists these fields by visiting them
/// first.
struct VmConfig {
    int agent_timeout_seconds = 60;
    int disk_gb = 10;
    int room = 4;
    UseKvm kvm = UseKvm::automatic;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("agent_timeout_seconds", self.agent_timeout_seconds,
              Field{.min = 1,
                    .max = 3600,
                    .doc = "how long a guest may take from its start until its agent answers"});
        visit("disk_gb", self.disk_gb,
              Field{.min = 1,
                    .max = 65536,
                    .doc = "GiB of a disk whose create names no size; an image may be larger"});
        visit("room", self.room,
              Field{.min = 1,
                    .max = 64,
                    .doc = "how many times the CPUs and the memory of its start a VM may come to have by "
                           "resizing it while it runs (not beyond 254 CPUs and 512 GiB)"});
        visit("kvm", self.kvm,
              Field{.doc = "auto: KVM where /dev/kvm opens and the CPU has vmx or svm; yes: KVM, without "
                           "looking; no: no KVM"});
    }
};

/// Virtual machines over one kind of hypervisor. A machine's disk and snapshots are in its ProcessHome, its
/// VMM is the process "vmm" there, its guest is spoken to through the agent. No journal kinds of its own: all
/// that it makes lies in the home, which is core's, or is a service of core's.
class VmRuntime : public Runtime,
                  public ExecFacet,
                  public LogsFacet,
                  public FilesFacet,
                  public ForwardFacet,
                  public PauseFacet,
                  public ResizeFacet,
                  public StatsFacet,
                  public SnapshotFacet,
                  public CopyFacet {
  public:
    static constexpr const char* features[] = {"disk"};

    VmRuntime(Host& host, std::unique_ptr<Vmm> vmm, const VmConfig& config);
    ~VmRuntime() override;

    Health health(Context& ctx) override { return vmm_->health(ctx); }
    RuntimeState create(Context& ctx, const Instance& instance) override;
    InstanceFacts start(Context& ctx, const Instance& instance) override;
    InstanceFacts stop(Context& ctx, const Instance& instance, milliseconds grace) override;
    void kill(Context& ctx, const Instance& instance) override;
    void destroy(Context& ctx, const Instance& instance) override;
    InstanceFacts inspect(Context& ctx, const Instance& instance) override;
    void release(Context& ctx, const JournalRow& row) override;
    std::optional<InstanceFacts> recover(Context& ctx, const Instance& instance) override;
    void recovered(Context& ctx) override;

    ExecEnd exec(Context& ctx, const Instance& instance, const ExecSpec& spec, ExecStreams streams) override;
    void logs(Context& ctx, const Instance& instance, const LogsSpec& spec, Fd out) override;
    void read_files(Context& ctx, const Instance& instance, const std::string& path, Fd out) override;
    void write_files(Context& ctx, const Instance& instance, const std::string& path, Fd in) override;
    Fd forward(Context& ctx, const Instance& instance, int port) override;
    InstanceFacts pause(Context& ctx, const Instance& instance) override;
    InstanceFacts resume(Context& ctx, const Instance& instance) override;
    InstanceFacts resize(Context& ctx, const Instance& instance, const ResizeSpec& spec) override;
    Stats stats(Context& ctx, const Instance& instance) override;
    SnapshotInfo create_snapshot(Context& ctx, const Instance& instance, const SnapshotSpec& spec) override;
    std::vector<SnapshotInfo> list_snapshots(Context& ctx, const Instance& instance) override;
    InstanceFacts restore_snapshot(Context& ctx, const Instance& instance, const std::string& name) override;
    void delete_snapshot(Context& ctx, const Instance& instance, const std::string& name) override;
    RuntimeState copy(Context& ctx, const Instance& instance, const Instance& source) override;

  private:
    // vm_boot.cpp
    InstanceFacts boot(Context& ctx, const Instance& instance, VmState& state,
                       std::optional<std::string> saved);
    LifePtr begin(Context& ctx, const Instance& instance, const Machine& machine);
    LifePtr adopt(const Instance& instance, const Machine& machine, SupervisedProcess process);
    void wait_for_agent(Context& ctx, Life& life, const std::string& host_name);
    void set_up(const Context& ctx, Life& life, const std::string& host_name);
    /// Has the guest make use of all CPUs and of its whole disk.
    void use_all(const Context& ctx, Life& life, const std::string& name);
    void ended(const LifePtr& life);
    /// Leaves nothing of the present life: process, TAP, sockets.
    void finish(Context& ctx, const Instance& instance);

    /// Throws Error{wrong_state} if it does not live.
    LifePtr need(const Instance& instance) const;
    InstanceFacts facts(const VmState& state, Status status) const;
    /// For the next daemon: a VMM may be slow to say it.
    InstanceFacts remember_paused(Context& ctx, const Instance& instance, const Life& life, bool paused);
    /// Gives a machine the size back that it had; a failure is logged.
    void undo_resize(Context& ctx, Life& life, const ResizeSpec& former);
    void end_politely(Context& ctx, Life& life, milliseconds grace);

    // vm_snapshots.cpp
    class Still;

    Host& host_;
    std::unique_ptr<Vmm> vmm_;
    VmConfig config_;
    AgentLoop agents_;
    Lives lives_;
    Jobs jobs_;  ///< last member: its threads end first
};

}  // namespace minions::vmkit
