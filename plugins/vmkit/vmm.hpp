#pragma once

#include "plugins/vmkit/agent_client.hpp"

#include <minions/context.hpp>
#include <minions/types.hpp>

#include <optional>
#include <string>
#include <vector>

namespace minions::vmkit {

/// A disk of ours. Its format is always stated, never guessed by a VMM.
struct Disk {
    enum class Format { raw, qcow2 };
    std::string path;
    Format format = Format::raw;
    bool backed = false;  ///< qcow2 over an image's raw disk, whose path is in its header

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("path", self.path);
        visit("format", self.format);
        visit("backed", self.backed);
    }
};

/// The CPUs and the memory of a machine, and the bounds within which they can change while it runs.
struct Size {
    int cpus = 1;
    std::int64_t memory_mb = 0;
    // The same from its start to its end, and in its snapshots. Zero: what was started without them.
    std::int64_t start_memory_mb = 0;
    int most_cpus = 0;
    std::int64_t most_memory_mb = 0;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("cpus", self.cpus);
        visit("memory_mb", self.memory_mb);
        visit("start_memory_mb", self.start_memory_mb);
        visit("most_cpus", self.most_cpus);
        visit("most_memory_mb", self.most_memory_mb);
    }
};

/// One machine for one boot of it: all that a VMM is told.
struct Machine : Size {
    std::string id;
    std::string name;
    Disk disk;
    std::string kernel;
    std::string initramfs;     ///< empty for none
    std::string command_line;  ///< complete, with the console
    NetworkAttachment network;
    bool host_vsock = false;  ///< its agent dials the host's vsock, from network.vsock_cid
    /// Made for this boot and empty, the VMM's own: sockets go here, under names of at most 12 characters.
    std::string run_directory;
    /// A directory that Vmm::save() has filled: the machine goes on from there instead of booting.
    std::optional<std::string> saved;
};

/// A kind of hypervisor: how its process is started and spoken to. Stateless but for what it knows of this
/// host: a machine is found by its sockets in Machine::run_directory, so a daemon that has just been started
/// can go on. All methods: [any thread]; those about one machine are called one at a time, and throw Error by
/// ctx.deadline() or when ctx is cancelled.
class Vmm {
  public:
    virtual ~Vmm() = default;

    /// As Runtime::health(), for what this hypervisor needs of the host.
    virtual Health health(Context& ctx) = 0;

    /// The process that runs the machine: what it writes to standard output is the serial console. Role
    /// "vmm".
    virtual ProcessSpec process(const Machine& machine) const = 0;
    /// Whether machines can have a vsock device of the host's kernel here (vhost-vsock), and so
    /// AgentAddress::Kind::vsock.
    virtual bool offers_host_vsock() const { return false; }
    /// Descriptors that the process gets as 3, 4, …; made anew by each call.
    virtual std::vector<Fd> passed(const Machine&) const { return {}; }
    /// What the guest's interface is to be given; Machine::network unless the VMM has a network of its own.
    virtual NetworkAttachment guest_network(const Machine& machine) const { return machine.network; }
    /// Where the machine's agent will be met. With Kind::listen we make the socket when the
    /// process has been started and before boot() is called; the VMM's user may connect to it.
    virtual AgentAddress agent_address(const Machine& machine) const = 0;

    /// The process has just been started: makes the guest run (or go on from Machine::saved). Returns when
    /// the VMM says that it does; the agent answers later. Throws `failed` with what the VMM said.
    virtual void boot(Context& ctx, const Machine& machine) = 0;

    virtual void pause(Context& ctx, const Machine& machine) = 0;
    virtual void resume(Context& ctx, const Machine& machine) = 0;
    /// Whether a running machine is paused. Throws unavailable when the VMM does not answer.
    virtual bool paused(Context& ctx, const Machine& machine) = 0;
    /// Asks the guest to end. What ends the machine is the end of its process.
    virtual void press_power_button(Context& ctx, const Machine& machine) = 0;
    /// Changes a running machine to what `spec` names; all of it or nothing, or else the error says what it
    /// has. Machine::cpus and the like are what it is believed to have. Throws invalid, naming the field and
    /// saying whether a stopped machine can have it; failed when the guest does not go along.
    virtual void resize(Context& ctx, const Machine& machine, const ResizeSpec& spec) = 0;
    /// Writes memory and devices of a paused machine, but not its disk, to files in `directory`, which is
    /// empty and the VMM's own. The machine stays paused.
    virtual void save(Context& ctx, const Machine& machine, const std::string& directory) = 0;
};

}  // namespace minions::vmkit
