"""A host of virtual machines: a daemon with a VM runtime, networking of its own and the minimal image."""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import threading

from . import procs
from .daemon import BUILD, Daemon
from .images import add_minimal_image
from .wait import SLOWNESS

VMS = "/api/vms"
BOOT = 120  # seconds that an emulated guest may take on a busy machine


def stand_in_settings(directory):
    """Of a daemon whose runtime qemu starts no guests: a stand-in answers in their place. `directory` gets a copy of it,
    since VMMs run as users who need not be able to read the build."""
    program = directory / "stand_in_vmm"
    shutil.copy(BUILD / "bin" / "stand_in_vmm", program)
    program.chmod(0o755)
    return {"runtimes.qemu.binary": program, "runtimes.qemu.kvm": "no"}


class VmHost:
    def __init__(self, directory, runtime="qemu", settings=None, arguments=(), daemon=Daemon):
        self.runtime = runtime
        self.daemon = daemon(directory, {"plugins.enabled": runtime, "images.default": "minimal",
                                         "vms.agent_timeout_seconds": int(BOOT * SLOWNESS),
                                         **(settings or {})}, arguments)

    def start(self):
        self.daemon.start()
        add_minimal_image(self.daemon)
        return self

    def stop(self):
        self.daemon.stop()

    @contextlib.contextmanager
    def running(self):
        """Started, and stopped well at the end; nothing of it is left however that comes."""
        try:
            yield self.start()
            self.stop()
        finally:
            self.clean_up()

    def clean_up(self):
        """Whatever a test that failed left: VMMs and their parents outlive the daemon."""
        self.daemon.kill()
        for pid in self.vm_processes():
            procs.end(pid, 5)

    # -- VMs -----------------------------------------------------------------------------------------------------------

    def create(self, name, **fields):
        body = {"name": name, "cpus": 1, "memory_mb": 256, "runtime": self.runtime, **fields}
        reply = self.daemon.post(VMS, body, seconds=3 * BOOT)
        if reply.status != 201:
            diagnosis = self.daemon.get(f"{VMS}/{name}/diagnosis")
            raise AssertionError(f"{reply}\n{diagnosis}\n{self.daemon.logs()}")
        return reply.json

    def destroy(self, name):
        reply = self.daemon.delete(f"{VMS}/{name}")
        assert reply.status == 200, f"{reply}\n{self.daemon.logs()}"

    def execute(self, name, command, *arguments, **fields):
        reply = self.daemon.post(f"{VMS}/{name}/exec", {"command": command, "args": list(arguments), **fields})
        assert reply.status == 200, f"{reply}\n{self.daemon.logs()}"
        return reply.json

    def follow_events(self):
        """A list that grows by the lines of the event stream from now on."""
        lines = []
        connection = http.client.HTTPConnection(self.daemon.address, timeout=600)
        connection.request("GET", "/api/events")
        stream = connection.getresponse()
        assert stream.status == 200

        def read():
            for line in stream:
                lines.append(line.decode())

        threading.Thread(target=read, daemon=True).start()
        return lines

    # -- leftovers -----------------------------------------------------------------------------------------------------

    @staticmethod
    def taps():
        links = json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout)
        return {link["ifname"] for link in links if link["ifname"].startswith("mn")}

    def vm_processes(self):
        """pid -> command line of VMMs, their parents, and whatever else works for VMs of this daemon."""
        found = {}
        for place in (self.daemon.state / "vms", self.daemon.run / "vms"):
            found.update(procs.around(f"{place}/"))
        own = {os.getpid(), self.daemon.process.pid if self.daemon.process else 0}
        return {pid: line for pid, line in found.items() if pid not in own}

    def traces(self):
        """What VMs leave in the world outside of the daemon."""
        directories = {str(path) for place in (self.daemon.state / "vms", self.daemon.run / "vms")
                       if place.exists() for path in place.iterdir()}
        return {"taps": self.taps(), "processes": set(self.vm_processes()), "directories": directories}
