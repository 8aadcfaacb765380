#include "plugins/qemu/hotplug.hpp"

#include <minions/base/deadline.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <vector>

namespace minions::qemu {

namespace {

constexpr std::int64_t mib = std::int64_t{1} << 20U;
// What a guest says through ACPI's _OST (ACPI 6.4, 6.3.5).
constexpr std::int64_t source_eject_request = 3;
constexpr std::int64_t status_in_progress = 0x84;

/// A place for a CPU.
struct Slot {
    std::string type;
    Value place;       ///< what says where it is
    std::string path;  ///< of the CPU there; empty if there is none
};

/// In the order in which they are filled, which is that of ACPI's numbers for them.
std::vector<Slot> slots_of(Qmp& qmp) {
    const Value list = qmp.run("query-hotpluggable-cpus");
    const Value::Array* entries = list.if_array();
    if (entries == nullptr) throw Error{Code::failed, "QEMU does not tell of the VM's CPUs"};
    std::vector<Slot> slots;
    for (const Value& entry : *entries)
        slots.push_back({entry["type"].string_or(""), entry["props"], entry["qom-path"].string_or("")});
    const auto order = [](const Slot& slot) {
        const auto number = [&](const char* name) { return slot.place[name].int_or(0); };
        return std::tuple(number("socket-id"), number("die-id"), number("core-id"), number("thread-id"));
    };
    std::sort(slots.begin(), slots.end(), [&](const Slot& a, const Slot& b) { return order(a) < order(b); });
    return slots;
}

std::size_t filled(const std::vector<Slot>& slots) {
    const auto is_filled = [](const Slot& slot) { return !slot.path.empty(); };
    return static_cast<std::size_t>(std::count_if(slots.begin(), slots.end(), is_filled));
}

[[noreturn]] void does_not(const std::string& what) {
    throw Error{
        Code::failed, "the guest does not " + what,
        "see that its kernel has hot-plug of CPUs and memory (virtio_mem); or stop the VM, resize it, and "
        "start it again"};
}

/// Waits until the guest has said what became of a CPU that came, or of our wish to have it back.
void wait_for_guest(Qmp& qmp, std::size_t slot, bool back, milliseconds patience) {
    const std::string number = std::to_string(slot);
    std::int64_t status = 0;
    const bool told = qmp.wait_for(
        [&](const Value& event) {
            const Value& info = event["data"]["info"];
            if (event["event"].string_or("") != "ACPI_DEVICE_OST" ||
                info["slot-type"].string_or("") != "CPU" || info["slot"].string_or("") != number ||
                (info["source"].int_or(0) == source_eject_request) != back)
                return false;
            status = info["status"].int_or(0);
            return status != status_in_progress;
        },
        deadline_in(patience));
    const char* what = back ? "give back" : "take";
    if (!told) does_not(fmt::format("{} CPU {} within {} ms", what, number, patience.count()));
    if (status != 0) does_not(fmt::format("{} CPU {}: ACPI status {:#x}", what, number, status));
}

}  // namespace

std::int64_t more_memory_mb(const vmkit::Machine& machine) {
    if (machine.start_memory_mb == 0) return 0;
    return (machine.most_memory_mb - machine.start_memory_mb) / memory_step_mb * memory_step_mb;
}

int count_cpus(Qmp& qmp) { return static_cast<int>(filled(slots_of(qmp))); }

std::int64_t count_more_memory_mb(Qmp& qmp) {
    const Value devices = qmp.run("query-memory-devices");
    if (const Value::Array* list = devices.if_array())
        for (const Value& device : *list)
            if (device["data"]["id"].string_or("") == more_memory)
                return device["data"]["size"].int_or(0) / mib;
    return 0;
}

void refuse_size(const char* field, const std::string& reason) {
    throw Error{Code::invalid,
                fmt::format("field '{}' of a running VM cannot be changed so: {}", field, reason),
                "stop it, resize it, and start it again"};
}

void check_cpus(Qmp& qmp, int wanted) {
    // Without KVM, QEMU (seen of 7.2) keeps a listener of a CPU that has gone, and dies of it when the
    // machine's memory map changes next: at a snapshot, or a reboot.
    if (wanted >= count_cpus(qmp) || qmp.run("query-kvm")["enabled"].bool_or(false)) return;
    refuse_size("cpus", "a CPU that QEMU emulates cannot be taken away");
}

void change_cpus(Qmp& qmp, int wanted, milliseconds patience) {
    check_cpus(qmp, wanted);
    const auto slots = slots_of(qmp);
    const auto target = std::min(static_cast<std::size_t>(wanted), slots.size());
    std::size_t count = filled(slots);
    for (; count < target; ++count) {
        Value arguments = slots[count].place;
        qmp.run("device_add", std::move(arguments.set("driver", slots[count].type)));
        wait_for_guest(qmp, count, false, patience);
    }
    for (; count > target; --count) {
        qmp.run("device_del", Value::object({{"id", slots[count - 1].path}}));
        wait_for_guest(qmp, count - 1, true, patience);
    }
}

void change_more_memory(Qmp& qmp, std::int64_t wanted_mb, milliseconds patience) {
    qmp.run("qom-set", Value::object({{"path", std::string("/machine/peripheral/") + more_memory},
                                      {"property", "requested-size"},
                                      {"value", wanted_mb * mib}}));
    for (std::int64_t reached = count_more_memory_mb(qmp); reached != wanted_mb;) {
        const bool moved = qmp.wait_for(
            [&](const Value& event) {
                if (event["event"].string_or("") != "MEMORY_DEVICE_SIZE_CHANGE" ||
                    event["data"]["id"].string_or("") != more_memory)
                    return false;
                reached = event["data"]["size"].int_or(0) / mib;
                return true;
            },
            deadline_in(patience));
        if (!moved)
            does_not(fmt::format("come to {} MiB beyond those of its start: it has stayed at {} for {} ms",
                                 wanted_mb, reached, patience.count()));
    }
}

}  // namespace minions::qemu
