#include "plugins/qemu/qemu.hpp"

#include <minions/plugin.hpp>

namespace minions::qemu {

/// Virtual machines in QEMU processes, on any host: with KVM or without it.
class QemuRuntime : public vmkit::VmRuntime {
  public:
    using Config = qemu::Config;

    QemuRuntime(Host& host, const Config& config)
        : VmRuntime(host, std::make_unique<Qemu>(config), config.vm) {}
};

}  // namespace minions::qemu

MINIONS_PLUGIN(minions::qemu::QemuRuntime, "qemu", "0.1.0", "virtual machines in QEMU, with KVM or emulated",
               minions::Kind::vm)
