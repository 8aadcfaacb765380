"""The VM of the double: its configuration, its state, and what the real one checks of both."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path

from guest import Guest, open_tap

MIB = 1 << 20
STEP = 128 * MIB  # of memory that ACPI plugs
SLOTS = 8  # for it
F_OFD_SETLK = 37
QCOW2_MAGIC = b"QFI\xfb"
SPECIAL_CIDS = (0, 1, 2, 2**32 - 1)
SAVED = ("config.json", "state.json", "memory-ranges")
NEXT = {"Created": ("Running", "Paused", "Shutdown"), "Running": ("Paused", "Shutdown"), "Shutdown": ("Running",),
        "Paused": ("Running", "Shutdown")}


class ApiError(Exception):
    """A refusal, from the general to the particular. `status` is that of v53 on; before, all were 500."""

    def __init__(self, *chain, status=500):
        super().__init__(": ".join(chain))
        self.chain, self.status = chain, status


def _opened(path, flags, *what):
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise ApiError(*what, f"{error.strerror} (os error {error.errno})") from None


class Machine:
    def __init__(self, agent, version):
        self.agent, self.version = agent, version
        self.later = None  # runs a call on the thread that this belongs to
        self.config, self.state, self.guest = None, None, None
        self.held, self.vsock, self.tap = [], None, None
        self.slots, self.room = 0, 0

    # -- endpoints -----------------------------------------------------------------------------------------------------

    def vmm_ping(self, _):
        return {"version": self.version.lstrip("v"), "build_version": self.version, "pid": os.getpid(),
                "features": ["kvm"]}

    def vmm_shutdown(self, _):
        self.vm_delete(None)

    def vm_create(self, config):
        what = "The VM could not be created"
        if self.config is not None:
            raise ApiError(what, "VM is already created")
        self._validate(config, what)
        self.config, self.state = config, "Created"

    def vm_delete(self, _):
        if self.config is not None:
            self._power_off()
            self.config, self.state = None, None

    def vm_info(self, _):
        if self.config is None:
            raise ApiError("The VM info is not available", "VM is not created", status=404)
        memory = self.config["memory"]
        return {"config": self.config, "state": self.state,
                "memory_actual_size": memory["size"] + memory.get("hotplugged_size", 0)}

    def vm_boot(self, _):
        what = "The VM could not boot"
        if self.config is None:
            raise ApiError(what, "VM config is missing", status=404)
        self._enter("Running", what)
        try:
            self._open_files(what)
            self._start_guest(what)
        except ApiError:
            self._power_off()
            self.state = "Created"
            raise

    def vm_shutdown(self, _):
        self._need("The VM could not shutdown", "Running", "Paused")
        self._power_off()
        self.state = "Shutdown"

    def vm_reboot(self, _):
        self._need("The VM could not reboot", "Running", "Paused")
        self._restart()

    def vm_pause(self, _):
        self._need("The VM could not be paused", "Running", "Paused")
        self._enter("Paused", "The VM could not be paused", "Could not pause the VM")
        if self.guest:
            self.guest.pause()

    def vm_resume(self, _):
        self._need("The VM could not resume", "Running", "Paused")
        self._enter("Running", "The VM could not resume", "Could not resume the VM")
        if self.guest:
            self.guest.resume()
        else:
            self._start_guest("The VM could not resume")

    def vm_power_button(self, _):
        self._need("Error triggering power button", "Running", "Paused")
        if self.guest:
            self.guest.press_power_button()

    def vm_resize(self, wanted):
        what = "The VM could not be resized"
        if self.config is None:
            raise ApiError(what, "VM is not created", status=404)
        cpus, memory = self.config["cpus"], self.config["memory"]
        if "desired_vcpus" in wanted:
            if wanted["desired_vcpus"] > cpus["max_vcpus"]:
                raise ApiError(what, "CPU manager error", "Desired vCPU count exceeds maximum")
            cpus["boot_vcpus"] = wanted["desired_vcpus"]
        if "desired_ram" in wanted:
            self._resize_memory(memory, wanted["desired_ram"], what)

    def vm_resize_disk(self, wanted):
        what = "The disk could not be resized"
        self._need(what, "Running", "Paused")
        disk = next((disk for disk in self.config["disks"] if disk.get("id") == wanted.get("id")), None)
        if disk is None:
            raise ApiError(what, "Device manager error", f"Unknown device ID: {wanted.get('id')}", status=404)
        if disk.get("image_type") != "Raw":
            raise ApiError(what, "Device manager error", "Failed to resize the disk", "resize not supported")
        os.truncate(disk["path"], wanted["desired_size"])

    def vm_snapshot(self, wanted):
        what = "The VM could not be snapshotted"
        self._need(what, "Running", "Paused")
        if self.state != "Paused":
            raise ApiError(what, "Cannot take a snapshot", "Trying to snapshot while VM is running")
        directory = self._directory(wanted.get("destination_url", ""), what)
        contents = (json.dumps(self.config), json.dumps({"snapshots": {}, "slots": self.slots}), "page" * MIB)
        for name, text in zip(SAVED, contents):
            try:
                Path(directory, name).write_text(text, encoding="utf-8")
            except OSError as error:
                raise ApiError(what, "Cannot send the snapshot", str(error)) from None

    def vm_restore(self, wanted):
        what = "The VM could not be restored"
        if self.config is not None:
            raise ApiError(what, "VM is already created")
        directory = self._directory(wanted["source_url"], what)
        try:
            config, state, _ = (Path(directory, name).read_text(encoding="utf-8") for name in SAVED)
            self.config, self.slots = json.loads(config), json.loads(state)["slots"]
        except (OSError, ValueError) as error:
            raise ApiError(what, "Cannot restore VM", str(error)) from None
        try:
            self._validate(self.config, what)
            self._open_files(what)
        except ApiError:
            self._power_off()
            self.config = None
            raise
        self.state = "Paused"
        if wanted.get("resume"):
            self.vm_resume(None)

    # -- checks --------------------------------------------------------------------------------------------------------

    def _need(self, what, *states):
        if self.state not in states:
            raise ApiError(what, "VM is not running")

    def _enter(self, state, *what):
        if state not in NEXT[self.state]:
            raise ApiError(*what, f"invalid VM state transition: {self.state} to {state}")
        self.state = state

    @staticmethod
    def _validate(config, what):
        def refuse(reason):
            raise ApiError(what, "Error validating the configuration", reason, status=400)

        if not config.get("payload", {}).get("kernel"):
            refuse("No bootitem provided: neither firmware nor kernel")
        if config["cpus"]["max_vcpus"] < config["cpus"]["boot_vcpus"]:
            refuse("Max CPUs lower than boot CPUs")
        ids = [each["id"] for kind in ("disks", "net") for each in config.get(kind, []) if "id" in each]
        if len(set(ids)) != len(ids) or any(each.startswith("__") for each in ids):
            refuse("Identifier is not unique or not valid")
        if "vsock" in config and config["vsock"]["cid"] in SPECIAL_CIDS:
            refuse(f"{config['vsock']['cid']} is a special VSOCK CID")
        if "memory" in config and config["memory"]["size"] <= 0:
            refuse("Memory size cannot be zero")

    @staticmethod
    def _directory(url, what):
        directory = url.removeprefix("file://")
        if directory == url or not os.path.isdir(directory):
            raise ApiError(what, f"Cannot use the URL {url}: no directory")
        return directory

    def _resize_memory(self, memory, size, what):
        def refuse(reason):
            raise ApiError(what, "Memory manager error", reason)

        if memory.get("hotplug_method", "Acpi") != "Acpi":
            refuse("this double knows ACPI only")
        more = size - memory["size"]
        if more <= 0:
            return
        if self.slots >= SLOTS:
            refuse("No slot available")
        if more % STEP:
            refuse("Size of hotplugged RAM is invalid")
        if more > self.room:
            refuse("Insufficient space for hotplug RAM")
        self.slots, self.room, memory["size"] = self.slots + 1, self.room - more, size

    # -- life ----------------------------------------------------------------------------------------------------------

    def _open_files(self, what):
        """Everything that the real one opens when it boots."""
        config = self.config
        self.room = config["memory"].get("hotplug_size") or 0
        self.held.append(_opened(config["payload"]["kernel"], os.O_RDONLY, what, "Cannot open kernel file"))
        if initramfs := config["payload"].get("initramfs"):
            self.held.append(_opened(initramfs, os.O_RDONLY, what, "Cannot open initramfs file"))
        for disk in config.get("disks", []):
            self._open_disk(disk, what)
        for net in config.get("net", []):
            self._open_net(net, what)
        if vsock := config.get("vsock"):
            self.vsock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.vsock.bind(vsock["socket"])
                self.vsock.listen(16)
            except OSError as error:
                raise ApiError(what, "Cannot create virtio-vsock backend", str(error)) from None

    def _open_disk(self, disk, what):
        manager = (what, "Device manager error")
        file = _opened(disk["path"], os.O_RDWR, *manager, f"Cannot open disk path {disk['path']}")
        self.held.append(file)
        head = os.pread(file, 32, 0)
        found = "Qcow2" if head[:4] == QCOW2_MAGIC else "Raw"
        if "image_type" not in disk:
            raise ApiError(*manager, "this double wants image_type")
        if disk["image_type"] != found:
            raise ApiError(*manager, f"Disk image type mismatch: specified {disk['image_type']}, detected {found}")
        try:
            fcntl.fcntl(file, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except OSError:
            raise ApiError(*manager, f"Cannot lock {disk['path']}: it is used by another VM") from None
        if found == "Qcow2":
            at, size = struct.unpack(">8xQI", head[:20])
            if at and not disk.get("backing_files"):
                raise ApiError(*manager, "Failed to create QcowDiskSync", "Maximum disk nesting depth exceeded")
            if at:
                backing = os.fsdecode(os.pread(file, size, at))
                self.held.append(_opened(backing, os.O_RDONLY, *manager, f"Cannot open backing file {backing}"))

    def _open_net(self, net, what):
        # Without rights over the network it cannot change an interface, not even to what it has already.
        if "mtu" in net or "host_mac" in net:
            raise ApiError(what, "Device manager error", "Failed to open the TAP", "Operation not permitted")
        try:
            self.tap = open_tap(net["tap"])
        except OSError as error:
            raise ApiError(what, "Device manager error", "Failed to open the TAP", str(error)) from None

    def _start_guest(self, what):
        print(f"Linux version 6.1.0 (stand-in of cloud-hypervisor {self.version})\n"
              f"Command line: {self.config['payload'].get('cmdline', '')}", flush=True)
        if self.agent == "none":
            return
        try:
            self.guest = Guest(self.config, self.agent, self.tap, self._guest_ended)
        except OSError as error:
            raise ApiError(what, str(error)) from None

    def _guest_ended(self, number):
        guest = self.guest
        self.later(lambda: self._after(guest, number))

    def _after(self, guest, number):
        """Power off ends the VMM, and so does a guest that it cannot start again; all else is a reset."""
        if guest is not self.guest:
            return  # one that was ended from here
        if number == signal.SIGINT:
            print("reboot: Power down", flush=True)
            os._exit(0)
        print("reboot: Restarting system" if number == signal.SIGHUP else
              f"Kernel panic - not syncing: Attempted to kill init! exitcode={number:#010x}", flush=True)
        self._restart()

    def _restart(self):
        try:
            self._power_off()
            self._open_files("The VM could not reboot")
            self._start_guest("The VM could not reboot")
            self.state = "Running"
        except ApiError as error:
            print(f"cloud-hypervisor: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    def _power_off(self):
        if self.guest:
            guest, self.guest = self.guest, None
            guest.kill()
        for file in self.held + ([self.tap] if self.tap is not None else []):
            os.close(file)
        self.held, self.tap = [], None
        if self.vsock:
            self.vsock.close()
            self.vsock = None
            with contextlib.suppress(OSError):
                os.unlink(self.config["vsock"]["socket"])
