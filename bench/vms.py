"""VMs without a guest: everything that a create and a death take but the boot, with a stand-in for QEMU."""

import contextlib
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from death import Deaths
from measure import Timing, timed
from support.vms import VMS, VmHost, stand_in_settings

BURST = 100


def file_system(path):
    return subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", path], check=True, capture_output=True,
                          text=True).stdout.strip()


class StandIns(VmHost):
    """A daemon whose QEMU is the stand-in."""

    def __init__(self, directory):
        directory.mkdir(parents=True, mode=0o755)
        super().__init__(directory / "d", settings=stand_in_settings(directory))

    def create(self, name, **fields):
        reply = self.daemon.post(VMS, {"name": name, "runtime": self.runtime, **fields}, unix=True)
        assert reply.status == 201, f"{reply}\n{self.daemon.logs()}"
        return reply.json

    def clean_up(self):
        self.daemon.kill()
        # Their parents end with them, and would sit out a SIGTERM each.
        for pid, line in self.vm_processes().items():
            if "minions-shim" not in line:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        super().clean_up()

    def destroy(self, name):
        assert self.daemon.delete(f"{VMS}/{name}", unix=True).status == 200


class VmBench:
    PARTS = ("vm-create", "vm-death")

    def __init__(self, directory, quick, results):
        self.directory, self.quick, self.results = directory, quick, results

    def run(self, parts):
        if "vm-create" in parts:
            self.measure_create()
        if "vm-death" in parts:
            self.measure_death()

    def measure_create(self):
        # What a commit costs is part of it, and differs: so once more without a disk, to tell.
        figures = {}
        for place in (self.directory, Path("/run")):
            figures.setdefault(file_system(place), self.creates(place / "create"))
        (kind, (single, rate)), *others = figures.items()
        detail = f"p99 {single.p99:.1f} ms, state on {kind}"
        self.results.at_most("VM create without boot, p50", single.p50, 15, "ms",
                             "; ".join([detail, *(f"on {name} {each.p50:.1f} ms" for name, (each, _) in others)]))
        self.results.at_least(f"burst of {BURST} VM creates without boot", rate, 50, "/s",
                              "; ".join([f"state on {kind}", *(f"on {name} {each:.0f}/s" for name, (_, each) in others)]))

    def creates(self, directory):
        """Durations of single creates, and creates a second of a burst."""
        with StandIns(directory).running() as host:
            durations = []
            for number in range(10 if self.quick else 100):
                durations.append(timed(lambda: host.create(f"s{number}"))[0])  # noqa: B023
                host.destroy(f"s{number}")
            names = [f"b{number}" for number in range(BURST)]
            with ThreadPoolExecutor(BURST) as clients:
                took, _ = timed(lambda: list(clients.map(host.create, names)))
                list(clients.map(host.destroy, names))
        return Timing(durations[3:]), BURST / took * 1000

    def measure_death(self):
        with StandIns(self.directory / "death").running() as host:
            deaths = Deaths()
            for number in range(5 if self.quick else 60):
                vm = host.create(f"k{number}")
                deaths.add(host.daemon, vm)
                host.destroy(vm["name"])
            deaths.tell(self.results, "stand-in", kernels_share=True)
