#pragma once

#include "plugins/cloudhv/api.hpp"
#include "plugins/cloudhv/version.hpp"
#include "plugins/vmkit/launch.hpp"
#include "plugins/vmkit/vm_runtime.hpp"
#include "plugins/vmkit/vmm.hpp"

#include <minions/base/sync.hpp>

#include <sys/stat.h>

#include <optional>
#include <string>

namespace minions::cloudhv {

/// The keys below `runtimes.cloudhv.`.
struct Config {
    vmkit::VmConfig vm;
    std::string binary = "cloud-hypervisor";
    std::string log_level = "warn";
    int api_timeout_seconds = 30;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        vmkit::VmConfig::fields(self.vm, visit);
        visit("binary", self.binary,
              Field{.max_size = 4096,
                    .doc = "Cloud Hypervisor's program, v50.1 or later: a path, or looked up in PATH and "
                           "/usr/local/bin"});
        visit("log_level", self.log_level,
              Field{.max_size = 5,
                    .doc = "what the VMM writes to vmm.err in the instance's directory: warn, info or "
                           "debug"});
        visit("api_timeout_seconds", self.api_timeout_seconds,
              Field{.min = 1, .max = 600, .doc = "how long a VMM may take to answer"});
    }
};

/// Cloud Hypervisor, spoken to over its API. In the run directory: `api`, listened on before the VMM starts
/// and handed to it; `vsock`, its end of the hybrid vsock, onto which we never connect (a connection that
/// broke off at the wrong moment has brought VMMs down); `vsock_1024`, where the guest's agent arrives.
class CloudHypervisor final : public vmkit::Vmm {
  public:
    /// Throws Error{invalid} for values that Config cannot refuse by itself.
    explicit CloudHypervisor(const Config& config);

    Health health(Context& ctx) override;
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
    Api api(const vmkit::Machine& machine) const;
    void go_on_from(const Context& ctx, const vmkit::Machine& machine, const std::string& saved) const;

    Config config_;
    vmkit::VersionOutput version_;
};

}  // namespace minions::cloudhv
