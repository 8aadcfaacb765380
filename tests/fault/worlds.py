"""What a torture test needs to know of a runtime: how its instances are made, and what they leave in the world outside of
the daemon."""

import re
import sqlite3

from support import procs
from support.cloudhv import settings_of, write_double
from support.daemon import BUILD, Daemon
from support.deploys import V1
from support.engine import BASE_IMAGE
from support.fixtures import fresh_directory
from support.vms import VMS, VmHost, stand_in_settings
from support.wait import until

SETTLED = 20.0  # seconds after a start within which everything has to be in order
WAITS = ["python", "-c", "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\ntime.sleep(3600)"]
NETWORK = ("iptables",)  # kinds of rows of the host's network, which no instance owns
ALIVE = ("running", "paused")


class World:
    """A daemon with one runtime, which a test starts with faults and without."""

    runtime = ""
    facets = ()
    outlive = True  # what runs goes on without the daemon

    def __init__(self, daemon):
        self.daemon = daemon
        self.log_begin = 0

    def clean_up(self):
        self.daemon.kill()

    def fields(self):
        """Of a create's body, beside its name."""
        return {}

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self, monkeypatch, faults=""):
        """Starts the daemon anew, however the one before ended."""
        self.daemon.kill()
        self.log_begin = self.daemon.log.stat().st_size if self.daemon.log.exists() else 0
        if faults:
            monkeypatch.setenv("MINIONS_FAILPOINTS", faults)
        else:
            monkeypatch.delenv("MINIONS_FAILPOINTS", raising=False)
        self.daemon.start()
        until(lambda: self.daemon.get("/readyz").status == 200, "the daemon is ready", SETTLED)
        until(self.settled, "each instance is known", SETTLED)

    def settled(self):
        return all(vm["status"] in (*ALIVE, "stopped", "error") for vm in self.vms())

    def passed(self):
        """The failpoints that the daemon has told of since its start, in order."""
        with self.daemon.log.open("rb") as log:
            log.seek(self.log_begin)
            return re.findall(r"^failpoint ([a-z0-9_.]+): ", log.read().decode(errors="replace"), re.MULTILINE)

    # -- instances -----------------------------------------------------------------------------------------------------

    def vms(self):
        return self.daemon.get(VMS).json

    def create(self, name):
        return self.daemon.post(VMS, {"name": name, "runtime": self.runtime, "cpus": 1, "memory_mb": 256,
                                      **self.fields()})

    def picture(self):
        """What the API says that there is, as it can be compared: name -> facts."""
        shown = {}
        for vm in self.vms():
            name = re.sub(r"-\d{9,}$", "-TIME", vm["name"])
            facts = {key: vm[key] for key in ("status", "cpus", "memory_mb")}
            if "snapshot" in self.facets:
                facts["snapshots"] = [each["name"] for each in self.daemon.get(f"{VMS}/{vm['name']}/snapshots").json]
            shown[name] = facts
        return shown

    def after_death(self, picture):
        """A picture as it is once the daemon has been killed and started again."""
        if self.outlive:
            return picture
        return {name: {**facts, "status": "stopped"} for name, facts in picture.items()}

    def remove_all(self):
        for vm in self.vms():
            reply = self.daemon.delete(f"{VMS}/{vm['name']}")
            assert reply.status == 200, f"{reply}\n{self.daemon.logs()}"

    # -- from outside --------------------------------------------------------------------------------------------------

    def outside(self):
        """kind -> names of what there is of ours in the world; equal before and after what leaves nothing."""
        return {"processes": set(self.daemon.helpers().values()), "files": self.daemon.files()}

    def faults_of_census(self):
        """Sentences on what does not fit what the API says; of a settled daemon there are none."""
        ids = {vm["id"] for vm in self.vms()}
        found = [f"the journal has {row}" for row in self.rows("SELECT instance, kind, key, held FROM journal")
                 if row[0] not in ids and row[1] not in NETWORK or not row[3] and row[1] != "directory"]
        found += [f"operation {row} is under way"
                  for row in self.rows("SELECT kind, subject FROM operations WHERE status = 'running'")]
        found += [f"slot {row} is nobody's" for row in self.rows("SELECT instance FROM vm_slots") if row[0] not in ids]
        found += [f"image use {row} is nobody's"
                  for row in self.rows("SELECT instance FROM image_uses") if row[0] not in ids]
        return found

    def rows(self, query):
        with sqlite3.connect(f"file:{self.daemon.state / 'state.db'}?mode=ro", uri=True) as database:
            return database.execute(query).fetchall()


class NullWorld(World):
    runtime = "null"
    outlive = False
    facets = ("resize", "pause", "copy")

    def __init__(self, *_):
        super().__init__(Daemon(fresh_directory("fault"), {"plugins.enabled": self.runtime},
                                ["--plugin-dir", BUILD / "lib" / "minions" / "examples"]))

    def fields(self):
        return {"image": "any"}


class DockerWorld(World):
    runtime = "docker"
    facets = ("resize", "pause", "copy", "deploy")

    def __init__(self, engine, repository):
        super().__init__(Daemon(fresh_directory("fault"), {"plugins.enabled": self.runtime,
                                                           "runtimes.docker.socket": engine.socket}))
        self.engine, self.repository = engine, repository

    def clean_up(self):
        super().clean_up()
        self.engine.sweep()

    def fields(self):
        return {"image": BASE_IMAGE, "command": WAITS}

    def deploy(self):
        return self.daemon.post(f"{V1}/deploy", {"repo_url": self.repository, "agent_name": "agent"})

    def outside(self):
        return {**super().outside(), **self.engine.traces()}

    def faults_of_census(self):
        found = super().faults_of_census()
        there = {container["Labels"].get("minions.instance", "?"): container["State"]
                 for container in self.engine.containers()}
        for vm in self.vms():
            state = there.pop(vm["id"], "gone")
            if (state in ALIVE) != (vm["status"] in ALIVE):
                found.append(f"the container of {vm['name']}, which is {vm['status']}, is {state}")
        return found + [f"container of {instance} is nobody's" for instance in there]


class VmWorld(World):
    """VMs under a shim, with TAPs, addresses, disks and an agent."""

    facets = ("resize", "pause", "copy", "snapshot")

    def __init__(self, settings):
        self.host = VmHost(fresh_directory("fault"), self.runtime,
                           {"network.bridge": "br9", "network.subnet": "10.9.0.1/16", **settings}).start()
        super().__init__(self.host.daemon)

    def clean_up(self):
        self.host.clean_up()

    def outside(self):
        return {**super().outside(), **self.host.traces()}

    def faults_of_census(self):
        found = super().faults_of_census()
        vms = self.vms()
        alive = {vm["id"] for vm in vms if vm["status"] in ALIVE}
        taps = {tap.removeprefix("mn") for tap in self.host.taps()}
        found += [f"TAP of {each} is nobody's" for each in taps - alive]
        found += [f"{each} has no TAP" for each in alive - taps]
        for kind, base in (("state", self.daemon.state), ("run", self.daemon.run)):
            known = {vm["id"] for vm in vms}
            there = {path.name for path in (base / "vms").iterdir()} if (base / "vms").exists() else set()
            found += [f"{kind} directory of {each} is nobody's" for each in there - known]
        lines = [" ".join((line, procs.environment(pid), procs.directory(pid)))
                 for pid, line in self.host.vm_processes().items()]
        for vm in vms:
            if any(vm["id"] in line for line in lines) != (vm["id"] in alive):
                found.append(f"{vm['name']} is {vm['status']}, and the processes are {lines}")
        found += [f"process '{line}' is nobody's" for line in lines if not any(each in line for each in alive)]
        return found


class CloudhvWorld(VmWorld):
    runtime = "cloudhv"

    def __init__(self):
        super().__init__(settings_of(write_double()))


class QemuWorld(VmWorld):
    runtime = "qemu"

    def __init__(self):
        super().__init__({})


class StandInWorld(VmWorld):
    """The runtime `qemu` without guests: no boot, but no snapshot either."""

    runtime = "qemu"
    facets = ("pause", "copy")

    def __init__(self):
        super().__init__(stand_in_settings(fresh_directory("standin")))
