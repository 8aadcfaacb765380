"""Containers: the daemon beside the Docker Engine that it drives, and by what the engine alone does."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import interleaved, interleaved_loads, pss_mb, timed
from support.daemon import Daemon
from support.engine import BASE_IMAGE, Engine
from support.wait import until

SLEEP = ["sleep", "infinity"]
LIMITS = {"NanoCpus": 2_000_000_000, "Memory": 1024 << 20}  # what a create that names none gets
ENGINE_PORT = 2375


class ContainerBench:
    """Instances in the engine, through the daemon and by hand."""

    PARTS = ("empty", "exec", "create", "thousand")

    def __init__(self, directory, quick, results):
        self.directory, self.quick, self.results = Path(directory), quick, results
        self.engine = Engine(self.directory / "engine", [f"tcp://127.0.0.1:{ENGINE_PORT}"])
        self.daemon = Daemon(self.directory / "daemon", {"runtimes.docker.socket": str(self.engine.socket)})
        self.names = 0

    def name(self, prefix="b"):
        self.names += 1
        return f"{prefix}{self.names}"

    # -- the same act, through us and by hand ----------------------------------------------------------------------

    def create(self, name, command):
        reply = self.daemon.post("/api/vms", {"name": name, "image": BASE_IMAGE, "runtime": "docker", "command": command},
                                 unix=True)
        assert reply.status == 201, reply
        return reply.json

    def create_raw(self, name, command):
        made = self.engine.must("POST", f"/containers/create?name={name}",
                                {"Image": BASE_IMAGE, "Cmd": command,
                                 "HostConfig": {**LIMITS, "Init": True, "SecurityOpt": ["no-new-privileges"]}}).json["Id"]
        self.engine.must("POST", f"/containers/{made}/start")
        return made

    def exec_raw(self, container):
        made = self.engine.must("POST", f"/containers/{container}/exec",
                                {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}).json["Id"]
        self.engine.must("POST", f"/exec/{made}/start", {"Detach": False, "Tty": False})
        assert self.engine.must("GET", f"/exec/{made}/json").json["ExitCode"] == 0

    def exec(self, name):
        reply = self.daemon.post(f"/api/vms/{name}/exec", {"command": "true"}, unix=True)
        assert reply.status == 200 and reply.json["exit_code"] == 0, reply

    # -- measurements ------------------------------------------------------------------------------------------------

    def measure_create(self):
        # With fewer rounds the 99th percentile would be the slowest one and no more.
        ours, raw = interleaved(10 if self.quick else 300, lambda: self.create(self.name("c"), SLEEP),
                                lambda: self.create_raw(self.name("r"), SLEEP), between=self.sweep)
        detail = f"{ours.p50:.1f} / {raw.p50:.1f} ms"
        self.results.at_most("container create+start against the Engine API, p50", ours.p50 / raw.p50, 1.03, "x", detail)
        detail = f"{ours.p99:.1f} / {raw.p99:.1f} ms"
        self.results.at_most("container create+start against the Engine API, p99", ours.p99 / raw.p99, 1.10, "x", detail)

    def measure_exec(self):
        name = self.name("e")
        container = self.create(name, SLEEP)["handle"]
        ours, raw = interleaved(20 if self.quick else 100, lambda: self.exec(name), lambda: self.exec_raw(container))
        self.results.at_most("exec over the Engine API, p50", ours.p50 - raw.p50, 2, "ms",
                             f"{ours.p50:.1f} / {raw.p50:.1f} ms")
        ours, docker = interleaved(10 if self.quick else 40, lambda: self.cli_exec(name), lambda: self.docker_exec(container))
        self.results.at_most("minions exec against docker exec, p50", ours.p50 / docker.p50, 0.70, "x",
                             f"{ours.p50:.1f} / {docker.p50:.1f} ms")
        ours, docker = interleaved(10 if self.quick else 40, lambda: self.exec(name), lambda: self.docker_exec(container))
        self.results.at_most("exec by REST against docker exec, p50", ours.p50 / docker.p50, 0.70, "x",
                             f"{ours.p50:.1f} / {docker.p50:.1f} ms")
        self.sweep()

    def cli_exec(self, name):
        result = self.daemon.cli("exec", name, "--", "true")
        assert result.returncode == 0, result

    def docker_exec(self, container):
        self.engine.docker("exec", container, "true")

    def measure_empty(self):
        self.results.at_most("resident memory, no instances (PSS)", self.memory_ratio(), 0.25, "x", self.memory_detail())
        self.results.at_most("start to a correct list, no instances", self.start_time(0), 50, "ms")
        one = self.create(self.name("g"), SLEEP)["name"]
        ours, ping = self.loads(f"/api/vms/{one}", "/_ping", 3)
        self.results.rate("get of one, 64 clients, against dockerd's _ping", ours, ping, 0.4)
        self.sweep()

    def measure_thousand(self):
        count = 100 if self.quick else 1000
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: self.create(self.name("t"), ["true"]), range(count)))
        until(lambda: all(vm["status"] == "stopped" for vm in self.list()), "every container has ended", 60)
        single, _ = interleaved(50, self.list, lambda: None)
        self.results.at_most(f"list of {count}, one client, p50", single.p50, 5, "ms")
        ours, theirs = self.loads("/api/vms", "/containers/json?all=1", 6)
        self.results.rate(f"list of {count}, 64 clients, against dockerd's own", ours, theirs, 50)
        self.results.at_most(f"list of {count}, 64 clients, p99", ours.p99_ms, 200, "ms")
        self.results.at_most(f"resident memory, {count} instances (PSS)", self.memory_ratio(), 0.28, "x",
                             self.memory_detail())
        self.results.at_most(f"start to a correct list, {count} instances", self.start_time(count), 150, "ms")

    def loads(self, ours, theirs, seconds):
        """64 clients on a target of ours and on one of the engine's: a Load for each."""
        return interleaved_loads(2 if self.quick else 5, 64, 1 if self.quick else seconds,
                                 f"http://{self.daemon.address}{ours}", f"http://127.0.0.1:{ENGINE_PORT}{theirs}")

    def list(self):
        return self.daemon.get("/api/vms", unix=True).json

    def memory(self):
        return pss_mb([self.daemon.process.pid]), pss_mb([self.engine.process.pid, *self.engine.containerds()])

    def memory_ratio(self):
        ours, theirs = self.memory()
        return ours / theirs

    def memory_detail(self):
        return "{:.1f} / {:.1f} MiB".format(*self.memory())

    def start_time(self, count):
        """Milliseconds from exec of the daemon to a list of `count` instances whose status is known; median of five."""
        times = []
        for _ in range(5):
            self.daemon.stop()
            times.append(timed(lambda: self.start_until_correct(count))[0])
        return sorted(times)[len(times) // 2]

    def start_until_correct(self, count):
        self.daemon.launch()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                listed = self.list()
                if len(listed) == count and all(vm["status"] != "unknown" for vm in listed):
                    break
            except OSError:
                pass
            time.sleep(0.0005)
        else:
            raise AssertionError(f"no correct list of {count} within 30 s\n{self.daemon.logs()}")
        until(lambda: self.daemon.address, "the daemon says that it is ready", 10, 0.0005)

    def sweep(self):
        for vm in self.list():
            assert self.daemon.delete(f"/api/vms/{vm['name']}", unix=True).status == 200
        self.engine.sweep()

    def run(self, parts):
        self.engine.start()
        try:
            self.engine.load_base_image()
            self.daemon.start()
            for part in parts:
                getattr(self, f"measure_{part}")()
        finally:
            self.daemon.kill()
            self.engine.stop()
