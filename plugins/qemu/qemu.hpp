#pragma once

#include "plugins/vmkit/launch.hpp"
#include "plugins/vmkit/vm_runtime.hpp"
#include "plugins/vmkit/vmm.hpp"

#include <string>

namespace minions::qemu {

/// The keys below `runtimes.qemu.`.
struct Config {
    vmkit::VmConfig vm;
    std::string binary = "qemu-system-x86_64";

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        vmkit::VmConfig::fields(self.vm, visit);
        visit("binary", self.binary,
              Field{.max_size = 4096, .doc = "QEMU's program: a path, or looked up in PATH"});
    }
};

/// QEMU's q35 machine with virtio devices, over KVM or emulated (TCG). Sockets in the run directory: `qmp`,
/// and `agent` for the virtio-serial port, both listened on before QEMU starts and handed to it.
class Qemu final : public vmkit::Vmm {
  public:
    /// `patience`: how long a guest may do nothing about CPUs or memory that it gets or is to give back.
    explicit Qemu(const Config& config, milliseconds patience = std::chrono::seconds(30));

    Health health(Context& ctx) override;
    bool offers_host_vsock() const override;
    ProcessSpec process(const vmkit::Machine& machine) const override;
    std::vector<Fd> passed(const vmkit::Machine& machine) const override;
    NetworkAttachment guest_network(const vmkit::Machine& machine) const override;
    vmkit::AgentAddress agent_address(const vmkit::Machine& machine) const override;
    void boot(Context& ctx, const vmkit::Machine& machine) override;
    void pause(Context& ctx, const vmkit::Machine& machine) override;
    void resume(Context& ctx, const vmkit::Machine& machine) override;
    bool paused(Context& ctx, const vmkit::Machine& machine) override;
    void press_power_button(Context& ctx, const vmkit::Machine& machine) override;
    void resize(Context& ctx, const vmkit::Machine& machine, const ResizeSpec& spec) override;
    void save(Context& ctx, const vmkit::Machine& machine, const std::string& directory) override;

  private:
    /// Why KVM is not used; empty if it is.
    std::string why_emulated() const;

    Config config_;
    milliseconds patience_;
    std::string program_;  ///< absolute; empty if it is not here
    vmkit::VersionOutput version_;
};

}  // namespace minions::qemu
