#include "plugins/cloudhv/requests.hpp"

#include <minions/error.hpp>

#include <algorithm>

namespace minions::cloudhv {

using vmkit::Disk;
using vmkit::Machine;

namespace {

constexpr std::int64_t mib = std::int64_t{1} << 20U;
constexpr std::int64_t gib = std::int64_t{1} << 30U;
constexpr std::int64_t first_guest_cid = 3;
/// Plugged memory is of use to a guest only once it is online, which Debian's kernels leave to others.
constexpr const char* online_at_once = " memhp_default_state=online";

ApiRequest put(std::string path, Value body = {}) { return {"PUT", std::move(path), std::move(body)}; }

Value cpus_of(const Machine& machine) {
    return Value::object(
        {{"boot_vcpus", machine.cpus}, {"max_vcpus", std::max(machine.cpus, machine.most_cpus)}});
}

Value memory_of(const Machine& machine) {
    Value memory = Value::object({{"size", machine.memory_mb * mib}});
    const std::int64_t more_mb =
        (machine.most_memory_mb - machine.memory_mb) / memory_step_mb * memory_step_mb;
    if (more_mb > 0) memory.set("hotplug_method", "Acpi").set("hotplug_size", more_mb * mib);
    return memory;
}

Value disk_of(const Disk& disk) {
    Value value = Value::object({{"id", disk_id},
                                 {"path", disk.path},
                                 {"image_type", disk.format == Disk::Format::qcow2 ? "Qcow2" : "Raw"}});
    // What backs it is named in its header: only a header that we wrote may name one.
    value.set("backing_files", disk.format == Disk::Format::qcow2 && disk.backed);
    return value;
}

/// No `mtu`: the guest is told that of the interface, and to set it would need rights that the VMM lacks.
Value net_of(const NetworkAttachment& network) {
    return Value::object({{"id", "net"}, {"tap", network.device}, {"mac", network.mac}});
}

Value& first_of(Value& config, std::string_view list) {
    Value* found = config.find(list);
    Value::Array* array = found != nullptr ? found->if_array() : nullptr;
    if (array == nullptr || array->empty() || array->front().if_object() == nullptr)
        throw Error{Code::failed, "the snapshot's configuration is not one of ours"};
    return array->front();
}

}  // namespace

std::string vsock_path(const Machine& machine) {
    return machine.run_directory + "/" + std::string(vsock_name);
}

ApiRequest create_request(const Machine& machine) {
    Value payload = Value::object({{"kernel", machine.kernel}});
    if (!machine.initramfs.empty()) payload.set("initramfs", machine.initramfs);
    payload.set("cmdline", machine.command_line + online_at_once);
    Value body = Value::object({{"payload", std::move(payload)},
                                {"cpus", cpus_of(machine)},
                                {"memory", memory_of(machine)},
                                {"disks", Value::array({disk_of(machine.disk)})},
                                {"rng", Value::object({{"src", "/dev/urandom"}})},
                                {"serial", Value::object({{"mode", "Tty"}})},
                                {"console", Value::object({{"mode", "Off"}})},
                                {"watchdog", false}});
    if (!machine.network.device.empty()) body.set("net", Value::array({net_of(machine.network)}));
    body.set("vsock", Value::object({{"id", "vsock"},
                                     {"cid", machine.network.vsock_cid.value_or(first_guest_cid)},
                                     {"socket", vsock_path(machine)}}));
    return put("/vm.create", std::move(body));
}

ApiRequest boot_request() { return put("/vm.boot"); }

ApiRequest info_request() { return {"GET", "/vm.info", {}}; }

ApiRequest pause_request() { return put("/vm.pause"); }

ApiRequest resume_request() { return put("/vm.resume"); }

ApiRequest power_button_request() { return put("/vm.power-button"); }

ApiRequest resize_cpus_request(int cpus) {
    return put("/vm.resize", Value::object({{"desired_vcpus", cpus}}));
}

ApiRequest resize_memory_request(std::int64_t memory_mb) {
    return put("/vm.resize", Value::object({{"desired_ram", memory_mb * mib}}));
}

ApiRequest resize_disk_request(std::int64_t disk_gb) {
    return put("/vm.resize-disk", Value::object({{"id", disk_id}, {"desired_size", disk_gb * gib}}));
}

ApiRequest snapshot_request(const std::string& directory) {
    return put("/vm.snapshot", Value::object({{"destination_url", "file://" + directory}}));
}

ApiRequest restore_request(const std::string& directory) {
    return put("/vm.restore", Value::object({{"source_url", "file://" + directory}}));
}

Value restored_config(const Value& saved, const Machine& machine) {
    Value config = saved;
    first_of(config, "disks").set("path", machine.disk.path);
    if (!machine.network.device.empty()) first_of(config, "net").set("tap", machine.network.device);
    Value* vsock = config.find("vsock");
    if (vsock == nullptr || vsock->if_object() == nullptr)
        throw Error{Code::failed, "the snapshot's configuration is not one of ours"};
    vsock->set("socket", vsock_path(machine));
    return config;
}

}  // namespace minions::cloudhv
