"""/api/vms with the runtime cloudhv: everything against the double, with the real agent behind it, and what a user does
once more against the real Cloud Hypervisor where MINIONS_TEST_CLOUD_HYPERVISOR names one."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest
from support import procs
from support.cloudhv import REAL, settings_of, write_double
from support.fixtures import fresh_directory
from support.vms import VmHost
from support.wait import SLOWNESS, until

VMS = "/api/vms"
BOOT = 90


def make_host(program, **settings):
    return VmHost(fresh_directory("chvhost"), "cloudhv", {**settings_of(program), **settings})


@pytest.fixture(scope="module", params=["double", "real"])
def host(request):
    """A daemon with the runtime, networking and the minimal image, for tests that leave it running."""
    if request.param == "real" and not REAL:
        pytest.skip("MINIONS_TEST_CLOUD_HYPERVISOR names no Cloud Hypervisor")
    made = make_host(REAL if request.param == "real" else write_double())
    made.real = request.param == "real"
    with made.running():
        yield made


@pytest.fixture
def faulty():
    """faulty(settings, DOUBLE_settings…) -> a host whose VMMs misbehave."""
    made = []

    def make(settings=None, **environment):
        made.append(make_host(write_double(**environment), **(settings or {})).start())
        return made[-1]

    yield make
    try:
        for each in made:
            each.stop()
    finally:
        for each in made:
            each.clean_up()


@pytest.fixture
def nothing_left(host):
    """Around a test that makes VMs of its own: afterwards there is nothing of them."""
    before = host.traces()
    yield
    until(lambda: host.traces() == before, "nothing is left behind", 15, 0.1)


def refused(reply, status, *words):
    assert reply.status == status, reply
    for word in words:
        assert word in reply.text, f"'{word}' is not in {reply}"
    return reply


def tap_of(vm):
    return f"mn{vm['id']}"


def status_of(host, name):
    return host.daemon.get(f"{VMS}/{name}").json["status"]


# -- what a user does ---------------------------------------------------------------------------------------------------


def test_create_exec_and_destroy(host, nothing_left):
    made = host.create("first", cpus=1, memory_mb=256)
    assert (made["status"], made["runtime"], made["memory_mb"]) == ("running", "cloudhv", 256)
    assert "--api-socket" in procs.cmdline(made["pid"])
    done = host.execute("first", "sh", "-c", "hostname; cat; echo oops >&2; exit 3", stdin="typed\n")
    assert (done["exit_code"], done["stdout"], done["stderr"]) == (3, "first\ntyped\n", "oops\n")
    said = host.daemon.get(f"{VMS}/first/logs").text
    assert ("is the init of this machine" if host.real else "Linux version") in said  # a real kernel is told to be quiet
    assert host.daemon.get(f"{VMS}/first/status").json["hostname"] == "first"
    refused(host.daemon.post(VMS, {"name": "first", "runtime": "cloudhv"}), 409, "already exists")
    host.destroy("first")
    refused(host.daemon.get(f"{VMS}/first"), 404)
    assert not procs.cmdline(made["pid"])


def test_guests_and_the_host_reach_each_other(host, nothing_left):
    made = host.create("net")
    assert re.fullmatch(r"10\.0\.\d+\.\d+", made["ip"])
    assert made["ip"] + "/16" in host.execute("net", "ip", "-4", "addr", "show", "eth0")["stdout"]
    with pytest.raises(ConnectionRefusedError):  # nobody listens there, and the guest says so
        socket.create_connection((made["ip"], 9), 10)
    assert "default via 10.0.0.1" in host.execute("net", "ip", "route")["stdout"]
    host.destroy("net")


def test_the_vmm_runs_as_a_user_of_its_own(host, nothing_left):
    made = host.create("user")
    status = Path(f"/proc/{made['pid']}/status").read_text(encoding="ascii")
    assert int(re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE).group(1)) >= 1900000000
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    host.destroy("user")


def test_pause_resize_stop_and_start(host, nothing_left):
    first = host.create("life")
    assert host.daemon.post(f"{VMS}/life/pause").json["status"] == "paused"
    refused(host.daemon.post(f"{VMS}/life/exec", {"command": "true"}), 409, "paused")
    assert host.daemon.post(f"{VMS}/life/resume").json["status"] == "running"
    assert host.execute("life", "true")["exit_code"] == 0
    grown = host.daemon.post(f"{VMS}/life/resize", {"cpus": 2, "memory_mb": 512})
    assert grown.status == 200 and (grown.json["cpus"], grown.json["memory_mb"]) == (2, 512), grown
    if host.real:  # the double's guest sees this machine's
        until(lambda: host.execute("life", "nproc")["stdout"] == "2\n", "the guest uses its second CPU")
        until(lambda: host.daemon.get(f"{VMS}/life/status").json["memory_total_mb"] > 400, "and its memory")
    refused(host.daemon.post(f"{VMS}/life/resize", {"cpus": 100}), 400, "cpus", "stop it")
    stopped = host.daemon.post(f"{VMS}/life/stop", {"timeout_seconds": 30})
    assert stopped.json["status"] == "stopped" and tap_of(first) not in host.taps(), stopped
    assert "Power down" in host.daemon.get(f"{VMS}/life/logs?tail=20").text
    resized = host.daemon.post(f"{VMS}/life/resize", {"cpus": 1, "memory_mb": 256, "disk_gb": 12})
    assert resized.status == 200 and resized.json["cpus"] == 1, resized
    started = host.daemon.post(f"{VMS}/life/start", seconds=BOOT)
    assert started.json["status"] == "running" and started.json["ip"] == first["ip"], started
    assert host.execute("life", "hostname")["stdout"] == "life\n"
    if host.real:
        assert int(host.execute("life", "df", "-m", "/")["stdout"].splitlines()[1].split()[1]) > 10500
    host.destroy("life")


def test_a_snapshot_with_memory_can_be_gone_back_to(host, nothing_left):
    host.create("snap")
    run = "echo one > /disk; mkdir -p /m; mount -t tmpfs tmpfs /m && echo lives > /m/memory"
    assert host.execute("snap", "sh", "-c", run)["exit_code"] == 0
    taken = host.daemon.post(f"{VMS}/snap/snapshots", {"name": "one"}, seconds=BOOT)
    assert taken.status == 201 and taken.json["memory"] is True and taken.json["size_bytes"] > 1 << 20, taken
    assert host.execute("snap", "sh", "-c", "echo two > /disk; umount /m")["exit_code"] == 0
    back = host.daemon.post(f"{VMS}/snap/snapshots/one/restore", seconds=BOOT)
    assert back.status == 200 and back.json["status"] == "running", back
    assert host.execute("snap", "hostname")["stdout"] == "snap\n"
    if host.real:  # the double's guest has nothing but a file system in its own memory, which begins anew
        assert host.execute("snap", "cat", "/disk", "/m/memory")["stdout"] == "one\nlives\n"
    assert host.daemon.delete(f"{VMS}/snap/snapshots/one").status == 200
    host.destroy("snap")


def test_the_end_of_a_vmm_is_noticed_at_once_and_cleaned_up(host, nothing_left):
    made = host.create("mortal")
    os.kill(made["pid"], signal.SIGKILL)
    begin = time.monotonic()
    until(lambda: status_of(host, "mortal") == "stopped", "it is known to be stopped", 5)
    assert time.monotonic() - begin < 3 * SLOWNESS
    until(lambda: tap_of(made) not in host.taps(), "its TAP is gone", 5)
    until(lambda: not list((host.daemon.run / "vms" / made["id"]).rglob("vsock*")), "its sockets are gone", 5)
    assert "signal 9" in host.daemon.get(f"{VMS}/mortal").json["reason"]
    assert host.daemon.post(f"{VMS}/mortal/start", seconds=BOOT).json["status"] == "running"
    assert host.execute("mortal", "true")["exit_code"] == 0
    host.destroy("mortal")


def test_several_creates_at_once_have_their_own_guests(host, nothing_left):
    names = ["many-a", "many-b", "many-c"]
    replies = host.daemon.post(VMS, {"name": names[0], "runtime": "cloudhv", "memory_mb": 256},
                               headers={"Prefer": "respond-async"}), host.create(names[1]), host.create(names[2])
    assert replies[0].status == 202, replies[0]
    until(lambda: status_of(host, names[0]) == "running", "the first runs too", BOOT)
    for name in names:
        assert host.execute(name, "hostname")["stdout"] == f"{name}\n"
    for name in names:
        host.destroy(name)


def test_vms_outlive_a_daemon_that_is_killed(host, nothing_left):
    alive, dead = host.create("alive"), host.create("dead")
    host.daemon.kill()
    os.kill(dead["pid"], signal.SIGKILL)
    until(lambda: not procs.cmdline(dead["pid"]), "the VMM is gone")
    host.daemon.start()
    until(lambda: status_of(host, "alive") == "running", "the living VM is adopted", 20)
    until(lambda: status_of(host, "dead") == "stopped", "the dead one is known", 20)
    assert host.daemon.get(f"{VMS}/alive").json["pid"] == alive["pid"]
    assert host.execute("alive", "hostname")["stdout"] == "alive\n"
    assert host.daemon.post(f"{VMS}/alive/pause").json["status"] == "paused"
    for name in ("alive", "dead"):
        host.destroy(name)


# -- VMMs that misbehave -------------------------------------------------------------------------------------------------


def failed_create(host, *words):
    """A create that fails leaves its record, and nothing else."""
    before = host.traces()
    reply = host.daemon.post(VMS, {"name": "bad", "runtime": "cloudhv", "memory_mb": 256}, seconds=BOOT)
    assert reply.status >= 500, reply
    for word in words:
        assert word in reply.text, f"'{word}' is not in {reply}"
    refused(host.daemon.get(f"{VMS}/bad"), 404)
    assert host.daemon.get(f"{VMS}/bad/diagnosis").status == 200
    until(lambda: host.traces() == before, "nothing is left behind", 15, 0.1)
    return reply


def test_a_vmm_that_ends_while_it_boots_is_told_of_in_its_own_words(faulty):
    failed_create(faulty(DIE="/vm.boot"), "exit code 101", "panicked at /vm.boot")


@pytest.mark.skipif(not REAL, reason="MINIONS_TEST_CLOUD_HYPERVISOR names no Cloud Hypervisor")
def test_what_the_real_one_cannot_do_is_told_of_in_its_own_words():
    directory = fresh_directory("chv")
    program = directory / "cloud-hypervisor"
    program.write_text(f"#!/bin/sh\nulimit -v 200000\nexec '{REAL}' \"$@\"\n", encoding="utf-8")  # less than the guest's
    program.chmod(0o755)
    own = make_host(program, **{"runtimes.cloudhv.kvm": "auto"})
    try:
        own.start()
        failed_create(own, "Cannot allocate memory")
        own.stop()
    finally:
        own.clean_up()


def test_a_vmm_that_does_not_answer_is_given_up(faulty):
    failed_create(faulty({"runtimes.cloudhv.api_timeout_seconds": 1}, HANG="/vm.create"), "did not answer")


def test_a_guest_without_an_agent_is_given_up(faulty):
    failed_create(faulty({"vms.agent_timeout_seconds": 2}, AGENT="none"), "agent", "2 seconds")


def test_a_guest_that_is_deaf_to_its_agent_is_stopped_by_force(faulty):
    own = faulty()
    made = own.create("deaf")
    (agent,) = (pid for pid, line in procs.around("vsock_1024").items() if line.startswith("minions-agent"))
    os.kill(agent, signal.SIGSTOP)
    stopped = own.daemon.post(f"{VMS}/deaf/stop", {"timeout_seconds": 2}, seconds=60)
    assert stopped.json["status"] == "stopped", stopped
    assert not procs.cmdline(made["pid"])
    own.destroy("deaf")


def test_an_old_version_is_refused_with_the_reason(faulty):
    own = faulty(VERSION="v50.0")
    assert "GHSA-jmr4-g2hv-mjj6" in own.daemon.get("/api/plugins").text
    reply = own.daemon.post(VMS, {"name": "old", "runtime": "cloudhv"})
    refused(reply, 503, "GHSA-jmr4-g2hv-mjj6")
