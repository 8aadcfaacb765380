"""A real Podman for tests, through its Docker-compatible socket: own storage, own state, no registry."""

import subprocess

from . import procs
from .engine import BASE_IMAGE, Engine

# Where its defaults do not fit the namespaces of tests/integration/run: crun wants unified cgroups, and the packages
# that bring an init for containers are not needed, as Docker's is there.
CONFIGURATION = """
[engine]
runtime = "runc"
init_path = "/usr/bin/docker-init"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman(Engine):
    """One `podman system service` below `directory`; otherwise as Engine."""

    name = "podman"

    def __init__(self, directory):
        super().__init__(directory)
        self.log = self.directory / "podman.log"
        self.options = ["--root", self.directory / "data", "--runroot", self.directory / "run",
                        "--tmpdir", self.directory / "tmp", "--storage-driver", "overlay"]

    def command(self):
        configuration = self.directory / "containers.conf"
        configuration.write_text(CONFIGURATION)
        return ["env", f"CONTAINERS_CONF={configuration}", "podman", *self.options, "system", "service", "--time", "0",
                f"unix://{self.socket}"]

    def stop(self):
        """Ends its containers, the service and the monitors of the former; removes mounts and directories."""
        subprocess.run(["podman", *map(str, self.options), "rm", "--all", "--force", "--time", "0"],
                       stdin=subprocess.DEVNULL, capture_output=True, check=False)
        super().stop()
        for pid in procs.tagged(str(self.directory)):
            procs.end(pid, seconds=5)

    def load_base_image(self):
        super().load_base_image()
        repo, tag = BASE_IMAGE.split(":")
        # It takes the tag for none when the image comes with the request.
        self.must("POST", f"/images/{repo}:latest/tag?repo={repo}&tag={tag}")
        self.must("DELETE", f"/images/{repo}:latest")
        return self
