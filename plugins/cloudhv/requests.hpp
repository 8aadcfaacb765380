#pragma once

#include "plugins/vmkit/vmm.hpp"

#include <minions/value.hpp>

#include <cstdint>
#include <string>

/// Every request that is made of Cloud Hypervisor's API, as its OpenAPI document has them.
namespace minions::cloudhv {

constexpr std::string_view api_root = "/api/v1";
/// Names inside of the run directory, short enough for what is appended to them.
constexpr std::string_view api_name = "api";
constexpr std::string_view vsock_name = "vsock";
constexpr std::string_view restore_name = "restore";
constexpr const char* disk_id = "disk";
/// The size of what ACPI can plug into a running machine.
constexpr std::int64_t memory_step_mb = 128;

struct ApiRequest {
    std::string method;
    std::string path;  ///< below api_root
    Value body;        ///< null for none
};

/// The machine, to be booted by boot_request().
ApiRequest create_request(const vmkit::Machine& machine);
ApiRequest boot_request();
ApiRequest info_request();
ApiRequest pause_request();
ApiRequest resume_request();
ApiRequest power_button_request();
ApiRequest resize_cpus_request(int cpus);
ApiRequest resize_memory_request(std::int64_t memory_mb);
ApiRequest resize_disk_request(std::int64_t disk_gb);
/// `directory` is empty and the VMM's own.
ApiRequest snapshot_request(const std::string& directory);
/// `directory` has what a snapshot wrote. The machine is paused afterwards.
ApiRequest restore_request(const std::string& directory);

/// The configuration in a snapshot, with the paths and the interface of this boot in the place of those that
/// it was taken with. Throws Error{failed} if it is none.
Value restored_config(const Value& saved, const vmkit::Machine& machine);

std::string vsock_path(const vmkit::Machine& machine);

}  // namespace minions::cloudhv
