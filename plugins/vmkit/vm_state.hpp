#pragma once

#include "plugins/vmkit/vmm.hpp"

namespace minions {
template <>
struct EnumWords<vmkit::Disk::Format> {
    static constexpr std::string_view words[] = {"raw", "qcow2"};
};
}  // namespace minions

namespace minions::vmkit {

/// What a VM runtime keeps of an instance: RuntimeState version 1.
struct VmState : Size {
    VmImage image;
    Disk disk;
    // Of the present life, or of the last one.
    std::uint64_t boot = 0;
    std::string run_directory;
    NetworkAttachment network;
    bool host_vsock = false;
    bool paused = false;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("image", self.image);
        visit("disk", self.disk);
        visit("boot", self.boot);
        visit("run_directory", self.run_directory);
        visit("network", self.network);
        visit("host_vsock", self.host_vsock);
        Size::fields(self, visit);
        visit("paused", self.paused);
    }

    RuntimeState encoded() const { return {1, encode(*this)}; }
};

/// Throws Error{failed} for a state of a newer version.
VmState state_of(const Instance& instance);

/// The machine of the life that the state speaks of.
Machine machine_of(const Instance& instance, const VmState& state);

}  // namespace minions::vmkit
