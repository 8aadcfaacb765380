"""Guests whose agent dies, and what becomes of the VM: in one where it is a service, and in one where it is the init."""

import os
import re

import pytest
from support.fixtures import fresh_directory
from support.images import add_minimal_image
from support.vms import VMS, VmHost
from support.wait import until

BOOT = 120


@pytest.fixture(scope="module")
def host():
    with VmHost(fresh_directory("agenthost"), settings={"network.bridge": "br6", "network.subnet": "10.6.0.1/16"}).running() as made:
        yield made


def test_an_init_that_dies_takes_its_vm_along_which_is_told(host):
    host.create("init")
    events = host.follow_events()
    # Signals do not end an init; without its program it ends by itself.
    code = re.search(r"^([0-9a-f]+)-([0-9a-f]+) r-xp", host.execute("init", "cat", "/proc/1/maps")["stdout"], re.MULTILINE)
    begin, end = (int(each, 16) // 4096 for each in code.groups())
    wipe = f"dd if=/dev/zero of=/proc/1/mem bs=4096 seek={begin} count={end - begin} conv=notrunc"
    reply = host.daemon.post(f"{VMS}/init/exec", {"command": "sh", "args": ["-c", wipe]})
    assert reply.status == 503, reply
    until(lambda: host.daemon.get(f"{VMS}/init").json["status"] == "stopped", "it is known to be stopped", 20)
    until(lambda: any("instance.stopped" in line for line in events), "there is an event", 5)
    assert "VMM ended" in host.daemon.get(f"{VMS}/init").json["reason"]
    assert "Attempted to kill init" in host.daemon.get(f"{VMS}/init/logs?tail=60").text
    assert host.daemon.post(f"{VMS}/init/start", seconds=BOOT).json["status"] == "running"
    assert host.execute("init", "true")["exit_code"] == 0
    host.destroy("init")


@pytest.mark.skipif("MINIONS_TEST_DEBIAN_IMAGE" not in os.environ,
                    reason="a Debian image takes minutes to make: set MINIONS_TEST_LONG=1")
def test_a_debian_guest_has_its_agent_back_when_that_is_killed(host):
    add_minimal_image(host.daemon, "debian", "prebuilt-debian")
    made = host.create("deb", image="debian", memory_mb=512)
    main_pid = ["systemctl", "show", "-p", "MainPID", "--value", "minions-agent"]
    first = int(host.execute("deb", *main_pid)["stdout"])
    booted = host.execute("deb", "cat", "/proc/sys/kernel/random/boot_id")["stdout"]

    killed = host.daemon.post(f"{VMS}/deb/exec", {"command": "sh", "args": ["-c", f"kill -9 {first}; sleep 600"]})
    assert killed.status == 503 and "agent" in killed.text, killed
    assert host.daemon.get(f"{VMS}/deb").json["status"] == "running"
    # The next command waits until the agent is there again.
    assert int(host.execute("deb", *main_pid)["stdout"]) not in (0, first)
    assert host.daemon.get(f"{VMS}/deb/status").json["status"] == "ok"
    assert host.execute("deb", "cat", "/proc/sys/kernel/random/boot_id")["stdout"] == booted
    assert host.execute("deb", "hostname")["stdout"] == "deb\n"
    assert made["ip"] in host.execute("deb", "ip", "-4", "addr")["stdout"]
    assert "sleep 600" not in host.execute("deb", "ps", "ax")["stdout"]
    assert host.daemon.get(f"{VMS}/deb").json["pid"] == made["pid"]

    resized = host.daemon.post(f"{VMS}/deb/resize", {"cpus": 2, "memory_mb": 768}, seconds=BOOT)
    assert resized.status == 200, resized
    assert host.execute("deb", "nproc")["stdout"] == "2\n"
    until(lambda: host.daemon.get(f"{VMS}/deb/status").json["memory_total_mb"] > 650, "it has more memory", 20)
    stopped = host.daemon.post(f"{VMS}/deb/stop", {"timeout_seconds": 90}, seconds=BOOT)
    assert stopped.json["status"] == "stopped", stopped
    assert "Power down" in host.daemon.get(f"{VMS}/deb/logs?tail=20").text
    host.destroy("deb")
