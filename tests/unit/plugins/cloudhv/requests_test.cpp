#include "plugins/cloudhv/requests.hpp"

#include <minions/base/fd.hpp>
#include <minions/base/files.hpp>
#include <minions/error.hpp>

#include <catch2/catch.hpp>

#include <cstdlib>

using namespace minions;
using namespace minions::cloudhv;
using minions::vmkit::Disk;
using minions::vmkit::Machine;

namespace {

constexpr std::int64_t mib = std::int64_t{1} << 20U;

/// As small as a machine can be.
Machine small() {
    Machine machine;
    machine.cpus = 1;
    machine.memory_mb = 16;
    machine.disk = {"/vms/a/disk.raw", Disk::Format::raw, false};
    machine.kernel = "/images/kernel";
    machine.command_line = "root=/dev/vda console=ttyS0";
    machine.run_directory = "/run/a/b1";
    return machine;
}

Machine complete() {
    Machine machine = small();
    machine.cpus = 3;
    machine.memory_mb = 700;
    machine.most_cpus = 12;
    machine.most_memory_mb = 2800;
    machine.disk = {"/vms/a/disk.qcow2", Disk::Format::qcow2, true};
    machine.initramfs = "/images/initramfs";
    machine.network.device = "mnabcdefghijkl";
    machine.network.mac = "02:00:0a:00:00:02";
    machine.network.address = "10.0.0.2/16";
    machine.network.mtu = 1400;
    machine.network.vsock_cid = 7;
    return machine;
}

Value listed(const char* what, const ApiRequest& request) {
    return Value::object(
        {{"what", what}, {"method", request.method}, {"path", request.path}, {"body", request.body}});
}

/// Every request there is, in each of its forms.
Value all_requests() {
    return Value::array({
        listed("create the smallest", create_request(small())),
        listed("create with room, interface and overlay", create_request(complete())),
        listed("boot", boot_request()),
        listed("info", info_request()),
        listed("pause", pause_request()),
        listed("resume", resume_request()),
        listed("press the power button", power_button_request()),
        listed("resize CPUs", resize_cpus_request(4)),
        listed("resize memory", resize_memory_request(1024)),
        listed("resize the disk", resize_disk_request(20)),
        listed("save", snapshot_request("/vms/a/snapshots/one/memory")),
        listed("go on", restore_request("/run/a/b2/restore")),
    });
}

const Value& cpus_of(const ApiRequest& request) { return request.body["cpus"]; }
const Value& memory_of(const ApiRequest& request) { return request.body["memory"]; }

}  // namespace

// tests/scripts/test_cloudhv_requests.py validates the file against Cloud Hypervisor's OpenAPI documents.
TEST_CASE("every request is what the list of requests says") {
    std::string text = "[\n";
    const Value made = all_requests();
    for (const Value& each : *made.if_array()) text += (text.size() > 2 ? ",\n  " : "  ") + to_json(each);
    text += "\n]\n";
    if (const char* path = std::getenv("MINIONS_WRITE_REQUESTS")) write_file_atomic(path, text, 0644);
    CHECK(read_file(MINIONS_CLOUDHV_REQUESTS, mib) == text);
}

TEST_CASE("the format of a disk is always stated, and only overlays of ours may have something behind them") {
    const auto disk = [](Disk::Format format, bool backed) {
        Machine machine = small();
        machine.disk.format = format;
        machine.disk.backed = backed;
        const Value body = create_request(machine).body;
        const Value& value = body["disks"].if_array()->front();
        return value["image_type"].string_or("") + (value["backing_files"].bool_or(true) ? " backed" : "");
    };
    CHECK(disk(Disk::Format::raw, false) == "Raw");
    CHECK(disk(Disk::Format::raw, true) == "Raw");
    CHECK(disk(Disk::Format::qcow2, false) == "Qcow2");
    CHECK(disk(Disk::Format::qcow2, true) == "Qcow2 backed");
}

TEST_CASE("a machine has the room to grow that it is given") {
    Machine machine = complete();
    CHECK(cpus_of(create_request(machine))["max_vcpus"].int_or(0) == 12);
    machine.most_memory_mb = 1400;  // in steps of 128 MiB
    CHECK(memory_of(create_request(machine))["hotplug_size"].int_or(0) == 640 * mib);
    machine.most_cpus = 0;
    machine.most_memory_mb = 700;
    CHECK(cpus_of(create_request(machine))["max_vcpus"].int_or(0) == 3);
    CHECK(memory_of(create_request(machine)).find("hotplug_size") == nullptr);
}

TEST_CASE("a snapshot goes on with the paths of the present boot") {
    const Value saved = parse_json(R"({"cpus": {"boot_vcpus": 2}, "vsock": {"cid": 7, "socket": "/old/vsock"},
        "disks": [{"id": "disk", "path": "/old/disk", "image_type": "Raw"}],
        "net": [{"id": "net", "tap": "mnold", "mac": "02:00:00:00:00:01"}]})");
    const Value now = restored_config(saved, complete());
    CHECK(now["vsock"] == Value::object({{"cid", 7}, {"socket", "/run/a/b1/vsock"}}));
    CHECK(now["disks"].if_array()->front()["path"].string_or("") == "/vms/a/disk.qcow2");
    CHECK(now["disks"].if_array()->front()["image_type"].string_or("") == "Raw");
    CHECK(now["net"].if_array()->front()["tap"].string_or("") == "mnabcdefghijkl");
    CHECK(now["cpus"] == saved["cpus"]);
    for (const char* other : {"{}", "[]", R"({"disks": []})", R"({"disks": [{}], "net": [{}]})"})
        CHECK_THROWS_AS(restored_config(parse_json(other), complete()), Error);
}
