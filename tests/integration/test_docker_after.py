"""A Docker Engine that starts after the daemon: its chain for what is forwarded has our rules then. It forbids the rest
only if it is the first to turn forwarding on, or if an administrator says so."""

import subprocess

import pytest
from support.engine import Engine
from support.fixtures import fresh_directory
from support.wait import until


def rules(*chain):
    return subprocess.run(["iptables", "-w", "-S", *chain], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False).stdout


@pytest.fixture
def late():
    engine = Engine(fresh_directory("late"))
    yield engine
    engine.stop()


def test_vms_reach_out_after_docker_has_started_later(make_null_daemon, late):
    subprocess.run(["iptables", "-w", "-P", "FORWARD", "ACCEPT"], check=True, stdin=subprocess.DEVNULL)
    subprocess.run(["iptables", "-w", "-F", "DOCKER-USER"], check=False, capture_output=True, stdin=subprocess.DEVNULL)
    daemon = make_null_daemon({"plugins.enabled": "null,docker", "runtimes.docker.socket": late.socket})
    late.start()
    until(lambda: rules("DOCKER-USER").count("minions ") == 4, f"our rules are in DOCKER-USER\n{daemon.logs()}", 20)
    late.terminate()
    subprocess.run(["iptables", "-w", "-F", "DOCKER-USER"], check=True, stdin=subprocess.DEVNULL)
    late.start()
    until(lambda: rules("DOCKER-USER").count("minions ") == 4, "they are there after each start", 20)
