"""/api/vms with virtual machines: real guests in QEMU, with the minimal image, from create to destroy."""

import base64
import hashlib
import http.client
import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from support import procs
from support.fixtures import fresh_directory
from support.vms import VmHost
from support.wait import until
from support.websocket import Exec
from support.websocket import run as stream

VMS = "/api/vms"
BOOT = 90  # seconds that an emulated guest may take on a busy machine


@pytest.fixture(scope="module")
def host():
    """A daemon with the QEMU runtime, networking and the minimal image, for tests that leave it running."""
    with VmHost(fresh_directory("vmhost")).running() as made:
        yield made


@pytest.fixture(scope="module")
def vm(host):
    """A VM for tests that change nothing of it."""
    host.create("shared")
    yield "shared"
    host.destroy("shared")


@pytest.fixture
def nothing_left(host):
    """Around a test that makes VMs of its own: afterwards there is nothing of them."""
    before = host.traces()
    yield
    until(lambda: host.traces() == before, "nothing is left behind", 15, 0.1)


def tap_of(vm):
    return f"mn{vm['id']}"


def refused(reply, status, *words):
    assert reply.status == status, reply
    for word in words:
        assert word in reply.text, f"'{word}' is not in {reply}"
    return reply


# -- what the document shows -------------------------------------------------------------------------------------------


def test_create_answers_with_the_documented_object(host, nothing_left):
    made = host.create("myvm", cpus=2, memory_mb=256)
    assert (made["name"], made["status"], made["cpus"], made["memory_mb"]) == ("myvm", "running", 2, 256)
    assert re.fullmatch(r"10\.0\.\d+\.\d+", made["ip"]) and made["vsock_cid"] >= 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", made["created_at"])
    assert "qemu" in procs.cmdline(made["pid"])
    assert [each["name"] for each in host.daemon.get(VMS).json if each["name"] == "myvm"] == ["myvm"]
    assert host.daemon.get(f"{VMS}/myvm").json["pid"] == made["pid"]
    inside = host.execute("myvm", "uname", "-a")
    assert inside["exit_code"] == 0 and inside["stdout"].startswith("Linux myvm ") and inside["stderr"] == ""
    assert host.execute("myvm", "nproc")["stdout"] == "2\n"
    status = host.daemon.get(f"{VMS}/myvm/status").json
    assert status["status"] == "ok" and status["hostname"] == "myvm" and 150 < status["memory_total_mb"] <= 256
    assert "minions-agent" in host.daemon.get(f"{VMS}/myvm/logs").text
    host.execute("myvm", "sh", "-c", "echo to the console > /dev/console")
    until(lambda: "to the console" in host.daemon.get(f"{VMS}/myvm/logs?tail=3").text, "the console says it")
    refused(host.daemon.post(VMS, {"name": "myvm", "runtime": "qemu"}), 409, "already exists")
    assert host.daemon.delete(f"{VMS}/myvm").json == {"message": "VM 'myvm' destroyed"}
    refused(host.daemon.get(f"{VMS}/myvm"), 404, "VM 'myvm' not found")
    assert not procs.cmdline(made["pid"])


def test_a_guest_has_its_address_its_disk_and_its_memory(host, vm):
    shown = host.daemon.get(f"{VMS}/{vm}").json
    assert shown["ip"] + "/16" in host.execute(vm, "ip", "-4", "addr", "show", "eth0")["stdout"]
    assert "default via 10.0.0.1" in host.execute(vm, "ip", "route")["stdout"]
    assert host.execute(vm, "ping", "-c", "1", "-W", "10", "10.0.0.1")["exit_code"] == 0
    size = int(host.execute(vm, "df", "-m", "/")["stdout"].splitlines()[1].split()[1])
    assert size > 8000  # of the 10 GiB that a create without a size gets
    assert abs(int(host.execute(vm, "date", "+%s")["stdout"]) - time.time()) < 10


def test_the_agent_takes_little_memory(host, vm):
    host.execute(vm, "sh", "-c", "yes | head -c 8000000")  # it has been at work
    status = host.execute(vm, "cat", "/proc/1/status")["stdout"]
    assert re.search(r"^Name:\s+init", status), status
    assert int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE).group(1)) <= 5 << 10, status


def test_the_vmm_runs_as_a_user_of_its_own_that_owns_what_it_needs(host, vm):
    pid = host.daemon.get(f"{VMS}/{vm}").json["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    uid = int(re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE).group(1))
    assert uid >= 1900000000 and re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    disks = [path for path in host.daemon.state.rglob("disk.*") if "/vms/" in str(path)]
    assert disks and all(path.stat().st_mode & 0o077 == 0 for path in disks)
    assert all(path.stat().st_blocks * 512 < 256 << 20 for path in disks)  # copy-on-write


# -- commands ----------------------------------------------------------------------------------------------------------


def test_commands_keep_their_input_output_and_ends_apart(host, vm):
    done = host.execute(vm, "sh", "-c", "cat; echo oops >&2; exit 3", stdin="typed\n", env={"A": "b"})
    assert (done["exit_code"], done["stdout"], done["stderr"]) == (3, "typed\n", "oops\n")
    assert host.execute(vm, "sh", "-c", "echo $A; pwd", env={"A": "b c"}, cwd="/etc")["stdout"] == "b c\n/etc\n"
    binary = host.execute(vm, "printf", r"\377\000\001")
    assert binary["stdout_encoding"] == "base64" and base64.b64decode(binary["stdout"]) == b"\xff\x00\x01"
    absent = host.execute(vm, "no-such-command")
    assert absent["exit_code"] == 127 and "no-such-command" in absent["stderr"]
    killed = host.execute(vm, "sh", "-c", "kill -9 $$")
    assert killed["signal"] == 9 or killed["exit_code"] == 137


def test_a_command_past_its_deadline_is_killed_with_all_that_it_began(host, vm):
    reply = host.daemon.post(f"{VMS}/{vm}/exec", {"command": "sh", "timeout_seconds": 2,
                                                  "args": ["-c", "echo began; sleep 4321 & sleep 4321"]})
    refused(reply, 504, "deadline", "began")
    until(lambda: "sleep 4321" not in host.execute(vm, "ps")["stdout"], "the guest has no such process", 10)


def test_a_stalled_command_delays_no_other(host, vm):
    stalled = http.client.HTTPConnection(host.daemon.address, timeout=60)
    stalled.request("POST", f"{VMS}/{vm}/exec", json.dumps({"command": "sleep", "args": ["15"]}),
                    {"Content-Type": "application/json"})
    begin = time.monotonic()
    assert host.execute(vm, "true")["exit_code"] == 0
    assert host.daemon.get(f"{VMS}/{vm}/status").status == 200
    assert time.monotonic() - begin < 12
    stalled.close()


def test_much_output_arrives_whole(host, vm):
    done = host.execute(vm, "sh", "-c", "yes minions | head -c 8000000")
    text = (b"minions\n" * 1000001)[:8000000]
    assert hashlib.sha256(done["stdout"].encode()).digest() == hashlib.sha256(text).digest()
    assert not done.get("truncated")


def test_a_stream_of_any_size_comes_whole(host, vm):
    size = (1 << 30) if os.environ.get("MINIONS_TEST_LONG") else 64 << 20
    digest, seen = hashlib.sha256(), 0

    def take(piece):
        nonlocal seen
        digest.update(piece)
        seen += len(piece)

    script = f"yes 0123456789abcde | head -c {size}"
    done = stream(host.daemon, "sh", "-c", script, name=vm, seconds=900, sink=take)
    expected = hashlib.sha256()
    for _ in range(size >> 20):
        expected.update(b"0123456789abcde\n" * (1 << 16))
    assert done.record["exit_code"] == 0 and seen == size and digest.digest() == expected.digest()


def test_a_terminal_a_signal_and_a_client_that_goes(host, vm):
    with Exec(host.daemon, vm, command="sh", tty=True, stdin=True, rows=10, columns=40) as shell:
        shell.input(b"stty size; echo rea''dy\n")
        shell.wait_for(b"ready")
        assert b"10 40" in shell.out
        shell.text({"rows": 33, "columns": 101})
        shell.input(b"stty size; exit 5\n")
        assert b"33 101" in shell.drain().out and shell.record["exit_code"] == 5
    trap = "trap 'exit 7' INT; echo ready; while :; do sleep 0.1; done"
    with Exec(host.daemon, vm, command="sh", args=["-c", trap]) as command:
        command.wait_for(b"ready")
        command.text({"signal": 2})
        assert command.drain().record["exit_code"] == 7
    with Exec(host.daemon, vm, command="sh", args=["-c", "echo ready; sleep 9876 & sleep 9876"]) as command:
        command.wait_for(b"ready")
    until(lambda: "sleep 9876" not in host.execute(vm, "ps")["stdout"], "what nobody waits for is ended", 10)


def test_files_go_in_and_out(host, vm):
    assert host.execute(vm, "sh", "-c", "mkdir -p /data/d && echo inside > /data/d/f")["exit_code"] == 0
    tar = host.daemon.get(f"{VMS}/{vm}/files?path=/data").body
    assert b"inside" in tar and b"data/d/f" in tar
    put = host.daemon.request("PUT", f"{VMS}/{vm}/files?path=/tmp", tar, {"Content-Type": "application/x-tar"})
    assert put.status == 200, put
    assert host.execute(vm, "cat", "/tmp/data/d/f")["stdout"] == "inside\n"


# -- life --------------------------------------------------------------------------------------------------------------


def test_stop_start_restart_pause_and_resize(host, nothing_left):
    first = host.create("life")
    assert host.execute("life", "sh", "-c", "echo kept > /kept; sync")["exit_code"] == 0
    stopped = host.daemon.post(f"{VMS}/life/stop", {"timeout_seconds": 60})
    assert stopped.json["status"] == "stopped" and stopped.json["pid"] is None, stopped
    assert stopped.json["ip"] == first["ip"] and tap_of(first) not in host.taps()
    refused(host.daemon.post(f"{VMS}/life/exec", {"command": "true"}), 409, "stopped")
    assert "Power down" in host.daemon.get(f"{VMS}/life/logs?tail=20").text
    resized = host.daemon.post(f"{VMS}/life/resize", {"cpus": 2, "memory_mb": 320, "disk_gb": 12})
    assert resized.status == 200 and resized.json["cpus"] == 2, resized
    started = host.daemon.post(f"{VMS}/life/start", seconds=BOOT)
    assert started.json["status"] == "running" and started.json["ip"] == first["ip"], started
    assert host.execute("life", "cat", "/kept")["stdout"] == "kept\n"
    assert host.execute("life", "nproc")["stdout"] == "2\n"
    assert int(host.execute("life", "df", "-m", "/")["stdout"].splitlines()[1].split()[1]) > 10500

    paused = host.daemon.post(f"{VMS}/life/pause")
    assert paused.json["status"] == "paused", paused
    refused(host.daemon.post(f"{VMS}/life/exec", {"command": "true"}), 409, "paused")
    assert host.daemon.post(f"{VMS}/life/resume").json["status"] == "running"
    assert host.execute("life", "true")["exit_code"] == 0
    grown = host.daemon.post(f"{VMS}/life/resize", {"disk_gb": 14})
    assert grown.status == 200, grown
    assert int(host.execute("life", "df", "-m", "/")["stdout"].splitlines()[1].split()[1]) > 12500
    refused(host.daemon.post(f"{VMS}/life/resize", {"disk_gb": 1}), 400, "disk_gb")
    host.destroy("life")


def memory_mb(host, name):
    text = host.execute(name, "cat", "/proc/meminfo")["stdout"]
    return int(re.search(r"^MemTotal:\s+(\d+) kB", text).group(1)) >> 10


def resize(host, name, **wanted):
    reply = host.daemon.post(f"{VMS}/{name}/resize", wanted, seconds=BOOT)
    assert reply.status == 200, f"{reply}\n{host.daemon.logs()}"
    assert {key: reply.json[key] for key in wanted} == wanted
    return reply.json


def has_size(host, name, cpus, memory):
    """Whether the guest makes use of so many CPUs and so much memory, less what its kernel keeps for itself."""
    seen = memory_mb(host, name)
    return host.execute(name, "nproc")["stdout"] == f"{cpus}\n" and memory - 60 < seen <= memory


def on_kvm(host):
    plugin = next(each for each in host.daemon.get("/api/plugins").json if each["name"] == "qemu")
    return plugin["health"]["reason"] == "runs on KVM"


def test_a_running_vm_gets_cpus_and_memory_and_gives_them_back(host, nothing_left):
    made = host.create("size", cpus=1)
    assert has_size(host, "size", 1, 256)
    resize(host, "size", cpus=2, memory_mb=512)
    until(lambda: has_size(host, "size", 2, 512), "the guest has what it was given", 20)
    refused(host.daemon.post(f"{VMS}/size/resize", {"cpus": 5}), 400, "cpus", "room for 4", "stop it")
    refused(host.daemon.post(f"{VMS}/size/resize", {"cpus": 3, "memory_mb": 128}), 400, "memory_mb", "less")
    refused(host.daemon.post(f"{VMS}/size/resize", {"memory_mb": 514}), 400, "memory_mb", "steps of 4")
    if on_kvm(host):  # as in tests/lab
        resize(host, "size", cpus=4)
        resize(host, "size", cpus=1)
        until(lambda: has_size(host, "size", 1, 512), "the guest has given back CPUs, one of its start among them", 20)
        resize(host, "size", cpus=3)
        resize(host, "size", cpus=2)
    else:
        refused(host.daemon.post(f"{VMS}/size/resize", {"cpus": 1, "memory_mb": 768}), 400, "cpus", "emulates")
    assert has_size(host, "size", 2, 512) and host.daemon.get(f"{VMS}/size").json["memory_mb"] == 512
    resize(host, "size", memory_mb=320)
    until(lambda: has_size(host, "size", 2, 320), "the guest has given back what it was to", 20)

    # A snapshot's memory goes on with the CPUs and the memory that there were.
    taken = host.daemon.post(f"{VMS}/size/snapshots", {"name": "one"})
    assert taken.status == 201, taken
    resize(host, "size", memory_mb=384)
    refused(host.daemon.post(f"{VMS}/size/snapshots/one/restore"), 409, "resized", "memory_mb 320")
    resize(host, "size", memory_mb=320)
    back = host.daemon.post(f"{VMS}/size/snapshots/one/restore", seconds=BOOT)
    assert back.status == 200 and back.json["pid"] != made["pid"], back
    assert has_size(host, "size", 2, 320)
    resize(host, "size", memory_mb=256)
    until(lambda: has_size(host, "size", 2, 256), "it has as much memory as at its start", 20)
    resize(host, "size", cpus=4, memory_mb=1024)
    until(lambda: has_size(host, "size", 4, 1024), "it can grow as far as ever", 20)
    host.destroy("size")


def test_a_snapshot_brings_back_memory_and_disk(host, nothing_left):
    host.create("snap")
    run = "echo one > /disk; mkdir -p /m; mount -t tmpfs tmpfs /m && echo lives > /m/memory"
    assert host.execute("snap", "sh", "-c", run)["exit_code"] == 0
    taken = host.daemon.post(f"{VMS}/snap/snapshots", {"name": "one"})
    assert taken.status == 201 and taken.json["memory"] is True and taken.json["size_bytes"] > 1 << 20, taken
    refused(host.daemon.post(f"{VMS}/snap/snapshots", {"name": "one"}), 409, "one")
    assert host.execute("snap", "sh", "-c", "echo two > /disk; umount /m")["exit_code"] == 0
    back = host.daemon.post(f"{VMS}/snap/snapshots/one/restore", seconds=BOOT)
    assert back.status == 200 and back.json["status"] == "running", back
    assert host.execute("snap", "cat", "/disk", "/m/memory")["stdout"] == "one\nlives\n"
    assert abs(int(host.execute("snap", "date", "+%s")["stdout"]) - time.time()) < 10
    assert [each["name"] for each in host.daemon.get(f"{VMS}/snap/snapshots").json] == ["one"]
    assert host.daemon.delete(f"{VMS}/snap/snapshots/one").status == 200
    assert host.daemon.get(f"{VMS}/snap/snapshots").json == []
    copied = host.daemon.post(f"{VMS}/snap/copy", {"new_name": "twin"}, seconds=BOOT)
    assert copied.status == 201 and copied.json["ip"] != back.json["ip"], copied
    assert host.execute("twin", "sh", "-c", "cat /disk; hostname")["stdout"] == "one\ntwin\n"
    host.destroy("twin")
    host.destroy("snap")


def test_the_end_of_a_vmm_is_noticed_at_once_and_cleaned_up(host, nothing_left):
    made = host.create("mortal")
    events = host.follow_events()
    os.kill(made["pid"], signal.SIGKILL)
    begin = time.monotonic()
    until(lambda: host.daemon.get(f"{VMS}/mortal").json["status"] == "stopped", "it is known to be stopped", 2)
    until(lambda: any("instance.stopped" in line for line in events), "there is an event", 2)
    assert time.monotonic() - begin < 2
    until(lambda: tap_of(made) not in host.taps(), "its TAP is gone", 5)
    until(lambda: not list((host.daemon.run / "vms" / made["id"]).rglob("qmp")), "its sockets are gone", 5)
    assert "signal 9" in host.daemon.get(f"{VMS}/mortal").json["reason"]
    assert host.daemon.post(f"{VMS}/mortal/start", seconds=BOOT).json["status"] == "running"
    host.destroy("mortal")


def test_a_guest_that_panics_is_told_of(host, nothing_left):
    host.create("panic")
    threading.Thread(target=host.daemon.post, daemon=True, args=(
        f"{VMS}/panic/exec", {"command": "sh", "args": ["-c", "echo c > /proc/sysrq-trigger"]})).start()
    until(lambda: host.daemon.get(f"{VMS}/panic").json["status"] == "stopped", "it is known to be stopped", 20)
    assert "Kernel panic" in host.daemon.get(f"{VMS}/panic/logs?tail=60").text
    host.destroy("panic")


def test_several_creates_at_once(host, nothing_left):
    names = ["many-a", "many-b", "many-c"]
    made = {}
    threads = [threading.Thread(target=lambda name=name: made.update({name: host.create(name)})) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * BOOT)
    assert set(made) == set(names)
    assert len({each["ip"] for each in made.values()}) == len({each["vsock_cid"] for each in made.values()}) == 3
    for name in names:
        assert host.execute(name, "hostname")["stdout"] == f"{name}\n"
        host.destroy(name)


def test_a_failed_create_leaves_only_its_record(host, nothing_left):
    refused(host.daemon.post(VMS, {"name": "bad", "runtime": "qemu", "image": "absent"}), 400, "image")
    refused(host.daemon.post(VMS, {"name": "bad", "runtime": "qemu", "command": ["sh"]}), 409, "command")
    refused(host.daemon.get(f"{VMS}/bad"), 404)
    assert host.daemon.get(f"{VMS}/bad/diagnosis").json["stage"] == "creating"


# -- the daemon comes and goes ---------------------------------------------------------------------------------------


def test_vms_outlive_a_daemon_that_is_killed():
    own = VmHost(fresh_directory("vmkill"), settings={"network.bridge": "br7", "network.subnet": "10.7.0.1/16"})
    try:
        own.start()
        alive = own.create("alive")
        dead = own.create("dead")
        resize(own, "alive", cpus=2, memory_mb=320)
        own.daemon.kill()
        os.kill(dead["pid"], signal.SIGKILL)
        until(lambda: not procs.cmdline(dead["pid"]), "the VMM is gone")
        own.daemon.start()
        until(lambda: own.daemon.get(f"{VMS}/alive").json["status"] == "running", "the living VM is adopted", 20)
        until(lambda: own.daemon.get(f"{VMS}/dead").json["status"] == "stopped", "the dead one is known", 20)
        assert own.daemon.get(f"{VMS}/alive").json["pid"] == alive["pid"]
        assert own.execute("alive", "hostname")["stdout"] == "alive\n"
        assert has_size(own, "alive", 2, 320)
        resize(own, "alive", cpus=3, memory_mb=256)
        until(lambda: has_size(own, "alive", 3, 256), "it goes on changing its size", 20)
        until(lambda: tap_of(dead) not in own.taps(), "the dead one's TAP is gone", 10)
        assert tap_of(alive) in own.taps()
        os.kill(alive["pid"], signal.SIGKILL)
        until(lambda: own.daemon.get(f"{VMS}/alive").json["status"] == "stopped", "its end is noticed", 5)
        for name in ("alive", "dead"):
            own.destroy(name)
        until(lambda: not own.vm_processes() and not {tap_of(alive), tap_of(dead)} & own.taps(), "nothing is left", 10)
        own.stop()
    finally:
        own.clean_up()
