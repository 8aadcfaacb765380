"""The Docker runtime by itself, every facet, against real engines: the program docker_live."""

import os
import subprocess

from support.daemon import BUILD
from support.fixtures import fresh_directory
from support.podman import Podman


def every_facet_works(engine):
    environment = {**os.environ, "MINIONS_TEST_DOCKER_SOCKET": str(engine.socket)}
    result = subprocess.run([BUILD / "bin" / "docker_live"], env=environment, stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=400, check=False)
    assert result.returncode == 0, result.stdout + result.stderr + engine.log_tail()
    return result.stdout


def test_every_facet_against_a_real_engine(engine):
    assert "skipped" not in every_facet_works(engine)


def test_every_facet_that_podman_has():
    podman = Podman(fresh_directory("podman"))
    try:
        told = every_facet_works(podman.start().load_base_image())
    finally:
        podman.stop()
    print(told)  # what was skipped, and why
