"""scripts/quickstart.sh: up, again, and down without a trace, with an engine of its own and with the machine's."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from support import procs
from support.daemon import BUILD
from support.engine import BASE_IMAGE, ROOT
from support.fixtures import fresh_directory
from support.images import write_recipes
from support.wait import until

MACHINES_SOCKET = Path("/var/run/docker.sock")  # in these namespaces /run is ours


class Quickstart:
    def __init__(self, directory):
        self.directory = directory / "quickstart"
        write_recipes(directory / "recipes")
        self.environment = {**os.environ, "QUICKSTART_RECIPES": str(directory / "recipes"), "QUICKSTART_DIR": str(self.directory), "QUICKSTART_BIND": "127.0.0.1:3765",
                            "QUICKSTART_BUILD": str(BUILD)}

    def run(self, *arguments):
        """Runs the script; its output, errors among it. AssertionError unless it succeeds."""
        done = subprocess.run([ROOT / "scripts" / "quickstart.sh", *arguments], env=self.environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=300, check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def up(self):
        """Runs it; the name of the agent's container, which must be healthy by then."""
        output = self.run()
        assert '"container_status":"running"' in output and '"status_code":200' in output, output
        assert re.search(r"^Linux sample-vm ", output, re.MULTILINE), output
        return re.search(r"health/(jules-agent-sample-agent-\d+)", output).group(1)

    def cli(self, *arguments):
        return output_of(BUILD / "bin" / "minions", "--host", f"unix:{self.directory}/run/minions.sock", *arguments)

    def kill(self, name):
        """SIGKILL for a process that it started, as at a power cut."""
        pid = int((self.directory / f"{name}.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        until(lambda: not procs.cmdline(pid), f"{name} is gone")


@pytest.fixture
def quickstart():
    made = Quickstart(fresh_directory("quick"))
    yield made
    if made.directory.exists():
        made.run("--down")


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def network():
    """Rules, policies and chains; links; forwarding."""
    return (output_of("iptables", "-S"), output_of("iptables", "-t", "nat", "-S"),
            re.findall(r"^\d+: (\w+)", output_of("ip", "link"), re.MULTILINE),
            Path("/proc/sys/net/ipv4/ip_forward").read_text())


@pytest.fixture
def outside():
    """A server in another network, which has no route to containers here, so that only masked ones get an answer; its
    address. Nothing is forwarded unless a rule says so, as Docker leaves a machine."""
    output_of("ip", "netns", "add", "outside")
    output_of("ip", "link", "add", "to-outside", "type", "veth", "peer", "name", "inside", "netns", "outside")
    output_of("ip", "address", "add", "192.0.2.1/24", "dev", "to-outside")
    output_of("ip", "link", "set", "to-outside", "up")
    output_of("ip", "-n", "outside", "address", "add", "192.0.2.2/24", "dev", "inside")
    output_of("ip", "-n", "outside", "link", "set", "inside", "up")
    output_of("iptables", "-P", "FORWARD", "DROP")
    server = subprocess.Popen(["ip", "netns", "exec", "outside", "/usr/bin/python3", "-m", "http.server", "8000"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield "http://192.0.2.2:8000/"
    server.kill()
    server.wait()
    output_of("ip", "netns", "delete", "outside")


def test_up_again_and_down_with_an_engine_of_its_own(quickstart, outside):
    subprocess.run(["iptables", "-N", "DOCKER-USER"], stderr=subprocess.DEVNULL, check=False)  # another engine's
    output_of("iptables", "-A", "DOCKER-USER", "-s", "192.0.2.1", "-j", "DROP")  # an administrator's, from before
    before = network()
    container = quickstart.up()
    assert quickstart.up() == container
    get = f"import urllib.request as r; print(r.urlopen({outside!r}, timeout=10).status)"
    assert quickstart.cli("exec", container, "--", "python", "-c", get) == "200\n"
    output_of("iptables", "-A", "DOCKER-USER", "-s", "192.0.2.2", "-j", "DROP")  # and from in between
    quickstart.run("--down")
    output_of("iptables", "-D", "DOCKER-USER", "-s", "192.0.2.2", "-j", "DROP")
    assert network() == before
    assert procs.tagged(str(quickstart.directory)) == {} and procs.mounts_below(quickstart.directory) == []
    assert not quickstart.directory.exists()
    assert "nothing to take down" in quickstart.run("--down")


@pytest.fixture
def machines_engine(engine):
    """The engine, found where a machine's own is."""
    MACHINES_SOCKET.symlink_to(engine.socket)
    yield engine
    MACHINES_SOCKET.unlink(missing_ok=True)
    engine.sweep()


def test_down_finds_what_it_made_in_the_machines_engine_though_the_daemon_died(machines_engine, quickstart):
    before = machines_engine.traces()
    quickstart.up()
    assert machines_engine.traces() != before
    quickstart.kill("daemon")
    quickstart.run("--down")
    assert machines_engine.traces() == before and not quickstart.directory.exists()


def test_down_keeps_everything_while_something_cannot_be_removed(machines_engine, quickstart):
    quickstart.up()
    MACHINES_SOCKET.unlink()
    with pytest.raises(AssertionError, match="does not answer"):
        quickstart.run("--down")
    MACHINES_SOCKET.symlink_to(machines_engine.socket)
    assert machines_engine.containers() != []
    quickstart.run("--down")
    assert machines_engine.containers() == []


def test_down_removes_a_base_image_that_it_brought(machines_engine, quickstart):
    machines_engine.must("DELETE", f"/images/{BASE_IMAGE}")
    try:
        quickstart.up()
        quickstart.run("--down")
        assert machines_engine.must("GET", "/images/json").json == []
    finally:
        machines_engine.load_base_image()
