"""VMs with a guest: to the agent and back, beside the same QEMU run by hand, and one image beside another."""

from by_hand import ByHand
from death import Deaths
from measure import Timing, in_turn, timed
from support.vms import BOOT, VmHost

SIZE = {"cpus": 1, "memory_mb": 512}
# Copies what scripts/bench.sh has made where there is an archive of packages.
DEBIAN_RECIPE = '#!/bin/bash\nset -euo pipefail\necho "progress 0 1 copying"\ncp --sparse=always "{}"/* "$2/"\n'


class BootBench:
    PARTS = ("vm-boot", "vm-images")

    def __init__(self, directory, quick, results, debian):
        self.directory, self.quick, self.results, self.debian = directory / "boot", quick, results, debian
        self.deaths, self.names = Deaths(), 0

    def run(self, parts):
        self.directory.mkdir()
        with VmHost(self.directory / "d").running() as host:
            if "vm-boot" in parts:
                self.measure_boot(host)
            if "vm-images" in parts:
                self.measure_images(host)
            if self.deaths.events:
                self.deaths.tell(self.results, "QEMU", kernels_share=False)

    def boot(self, host, image):
        """Milliseconds of a create, whose VMM is then killed."""
        self.names += 1
        name = f"g{self.names}"
        took, vm = timed(lambda: host.create(name, image=image, **SIZE))
        self.deaths.add(host.daemon, vm)
        host.destroy(name)
        return took

    def measure_boot(self, host):
        vm = host.create("model", image="minimal", **SIZE)
        by_hand = ByHand(self.directory / "hand", vm["pid"])
        host.destroy("model")
        actions = [lambda: self.boot(host, "minimal"), lambda: by_hand.boot(BOOT)]
        ours, bare = self.in_turn(1 if self.quick else 12, actions)
        self.results.at_most("VM create to its agent against QEMU by hand, p50", ours.p50 / bare.p50, 1.10, "x",
                             f"{ours.p50:.0f} / {bare.p50:.0f} ms, best {min(ours.values):.0f} / {min(bare.values):.0f} ms")

    def measure_images(self, host):
        if self.debian is None:
            print("     vm-images: skipped, there is no Debian image (see scripts/bench.sh)", flush=True)
            return
        recipe = host.daemon.directory / "recipes" / "bookworm.sh"
        recipe.write_text(DEBIAN_RECIPE.format(self.debian), encoding="utf-8")
        recipe.chmod(0o755)
        made = host.daemon.post("/api/images/build", {"name": "debian", "recipe": "bookworm"}, seconds=600)
        assert made.status == 201, made
        actions = [lambda: self.boot(host, "minimal"), lambda: self.boot(host, "debian")]
        minimal, debian = self.in_turn(1 if self.quick else 5, actions)
        self.results.note("boot of the minimal image against the Debian image, p50", minimal.p50 / debian.p50, "x",
                          f"{minimal.p50:.0f} / {debian.p50:.0f} ms")

    @staticmethod
    def in_turn(rounds, actions):
        """A Timing for each action, of the durations that they return."""
        timings = [Timing([]) for _ in actions]
        for order in in_turn(rounds, actions):
            for index in order:
                timings[index].values.append(actions[index]())
        return timings
