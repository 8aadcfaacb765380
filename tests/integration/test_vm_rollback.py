"""A create of a VM that fails, or whose daemon dies, at any of its steps: nothing of it stays but its record. The steps
are not listed here: one create that succeeds tells which failpoints it passes."""

import collections
import re

import pytest
from support.fixtures import fresh_directory
from support.vms import VMS, VmHost
from support.wait import until

# Passed at other times too, so that a fault there is none of a create; the store has tests of its own.
EVERYWHERE = ("store.", "image.")
DYING = ["process.home.after", "net.tap.made", "process.spawn.after", "process.keep.after", "vm.disk.after",
         "vm.network.after", "vm.boot.after", "vm.agent.before", "vm.setup.after", "instance.acknowledge.before"]


class FaultyHost(VmHost):
    """A host whose daemon is started anew for each fault; image and address stay."""

    def __init__(self, directory):
        super().__init__(directory, settings={"network.bridge": "br8", "network.subnet": "10.8.0.1/16"})
        self.start().daemon.stop()

    def with_faults(self, monkeypatch, faults):
        self.daemon.kill()
        if faults:
            monkeypatch.setenv("MINIONS_FAILPOINTS", faults)
        else:
            monkeypatch.delenv("MINIONS_FAILPOINTS", raising=False)
        self.daemon.start()

    def passed(self):
        return re.findall(r"^failpoint ([a-z0-9_.]+): ", self.daemon.log.read_text(errors="replace"), re.MULTILINE)

    def try_to_create(self):
        return self.daemon.post(VMS, {"name": "a", "runtime": "qemu", "cpus": 1, "memory_mb": 192}, seconds=300)

    def wait_nothing_left(self, before, when):
        try:
            until(lambda: self.traces() == before, "nothing is left", 20, 0.1)
        except AssertionError:
            left = {kind: self.traces()[kind] - before[kind] for kind in before}
            raise AssertionError(f"left by a fault at {when}: {left}\n{self.daemon.logs()}") from None


@pytest.fixture(scope="module")
def host():
    made = FaultyHost(fresh_directory("faulty"))
    yield made
    made.clean_up()


@pytest.fixture(scope="module")
def steps(host):
    """name -> which of its passings is the create's first: the points that a create passes, in order."""
    with pytest.MonkeyPatch.context() as patch:
        host.with_faults(patch, "*=note")
        until(lambda: host.daemon.get("/readyz").status == 200, "the daemon is ready")
        started = collections.Counter(host.passed())
        assert host.try_to_create().status == 201, host.daemon.logs()
        during = host.passed()[sum(started.values()):]
        host.destroy("a")
        host.daemon.stop()
    return {name: started[name] + 1 for name in dict.fromkeys(during) if not name.startswith(EVERYWHERE)}


def test_a_create_that_fails_at_any_step_leaves_only_its_record(host, steps, monkeypatch):
    assert {"vm.disk.before", "net.tap.before", "process.spawn.before", "vm.boot.before", "vm.agent.before",
            "vm.setup.after", "process.home.after"} <= set(steps)
    succeeded = []
    for name, nth in steps.items():
        host.with_faults(monkeypatch, f"{name}=fail@{nth}")
        before = host.traces()
        reply = host.try_to_create()
        if reply.status == 201:
            succeeded.append(name)
            host.destroy("a")
        else:
            assert reply.status >= 400 and host.daemon.get(f"{VMS}/a").status == 404, f"{name}: {reply}"
            diagnosis = host.daemon.get(f"{VMS}/a/diagnosis")
            assert diagnosis.status == 200 and diagnosis.json["error"]["message"], f"{name}: {diagnosis}"
        host.wait_nothing_left(before, name)
    # What a fault may not spoil: clearing away what is there no more.
    assert len(succeeded) < len(steps) / 4, succeeded


@pytest.mark.parametrize("name", DYING)
def test_a_create_whose_daemon_dies_is_undone_at_the_next_start(host, steps, name, monkeypatch):
    if name not in steps:
        pytest.fail(f"a create does not pass {name}: {list(steps)}")
    host.with_faults(monkeypatch, None)
    before = host.traces()
    host.with_faults(monkeypatch, f"{name}=abort@{steps[name]}")
    with pytest.raises(OSError):
        host.try_to_create()
    host.with_faults(monkeypatch, None)
    until(lambda: host.daemon.get(f"{VMS}/a").status == 404, "the create is undone", 20)
    host.wait_nothing_left(before, name)
    assert host.daemon.get(f"{VMS}/a/diagnosis").status == 200
