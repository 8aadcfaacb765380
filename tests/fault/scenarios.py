"""The operations that are torn, each with what it needs, what it does, and what may be true when it was cut off."""

from dataclasses import dataclass, field
from typing import Callable

from support.deploys import V1
from worlds import VMS


@dataclass
class Scenario:
    name: str
    act: Callable  # (world) -> reply
    prepare: tuple = ()  # names of steps below, done beforehand without faults
    needs: str = ""  # a facet
    between: tuple = ()  # statuses that the instance `a` may have besides that before and that after
    removed: bool = field(default=False)  # it removes: what was begun is finished at the next start


def vm(world, method, target, body=None):
    return world.daemon.request(method, f"{VMS}/{target}", body)


def must(reply):
    assert reply.status < 300, reply
    return reply


STEPS = {
    "create": lambda world: must(world.create("a")),
    "stop": lambda world: must(vm(world, "POST", "a/stop", {"force": True})),
    "pause": lambda world: must(vm(world, "POST", "a/pause")),
    "snapshot": lambda world: must(vm(world, "POST", "a/snapshots", {"name": "s", "memory": True})),
    "deploy": lambda world: must(world.deploy()),
}


def container_name(world):
    return next(vm["name"] for vm in world.vms() if vm["name"].startswith("jules-agent-"))


SCENARIOS = [
    Scenario("create", lambda world: world.create("a")),
    Scenario("start", lambda world: vm(world, "POST", "a/start"), ("create", "stop")),
    Scenario("stop", lambda world: vm(world, "POST", "a/stop", {"timeout_seconds": 5}), ("create",)),
    Scenario("kill", lambda world: vm(world, "POST", "a/stop", {"force": True}), ("create",)),
    Scenario("restart", lambda world: vm(world, "POST", "a/restart", {"force": True}), ("create",), between=("stopped",)),
    Scenario("destroy", lambda world: vm(world, "DELETE", "a"), ("create",), removed=True),
    Scenario("destroy-stopped", lambda world: vm(world, "DELETE", "a"), ("create", "stop"), removed=True),
    Scenario("rename", lambda world: vm(world, "POST", "a/rename", {"new_name": "b"}), ("create",)),
    Scenario("pause", lambda world: vm(world, "POST", "a/pause"), ("create",), needs="pause"),
    Scenario("resume", lambda world: vm(world, "POST", "a/resume"), ("create", "pause"), needs="pause"),
    Scenario("resize", lambda world: vm(world, "POST", "a/resize", {"cpus": 2, "memory_mb": 320}), ("create", "stop"),
             needs="resize"),
    Scenario("copy", lambda world: vm(world, "POST", "a/copy", {"new_name": "c"}), ("create", "stop"), needs="copy"),
    Scenario("snapshot", lambda world: vm(world, "POST", "a/snapshots", {"name": "s", "memory": True}), ("create",),
             needs="snapshot", between=("paused",)),
    Scenario("restore", lambda world: vm(world, "POST", "a/snapshots/s/restore"), ("create", "snapshot"),
             needs="snapshot", between=("stopped",)),
    Scenario("delete-snapshot", lambda world: vm(world, "DELETE", "a/snapshots/s"), ("create", "snapshot"),
             needs="snapshot"),
    Scenario("deploy", lambda world: world.deploy(), needs="deploy"),
    Scenario("stop-deployment",
             lambda world: world.daemon.post(f"{V1}/stop", {"container_name": container_name(world)}), ("deploy",),
             needs="deploy", between=("stopped",)),
]
