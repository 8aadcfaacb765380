#include "plugins/cloudhv/cloud_hypervisor.hpp"

#include <minions/plugin.hpp>

namespace minions::cloudhv {

/// Virtual machines in Cloud Hypervisor processes, on hosts with KVM.
class CloudhvRuntime : public vmkit::VmRuntime {
  public:
    using Config = cloudhv::Config;

    CloudhvRuntime(Host& host, const Config& config)
        : VmRuntime(host, std::make_unique<CloudHypervisor>(config), config.vm) {}
};

}  // namespace minions::cloudhv

MINIONS_PLUGIN(minions::cloudhv::CloudhvRuntime, "cloudhv", "0.1.0",
               "virtual machines in Cloud Hypervisor, on KVM", minions::Kind::vm)
