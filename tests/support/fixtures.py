"""The fixtures of the integration tests; tests/integration/conftest.py hands them to pytest."""

import itertools
import os
from pathlib import Path

import pytest

from .daemon import BINARY, BUILD, Daemon
from .engine import Engine
from .gitserver import GitHttp, GitSsh

numbers = itertools.count(1)


def fresh_directory(kind):
    """A directory below the run's own, short enough for sockets in it, readable by the daemon's git."""
    path = Path(os.environ["MINIONS_TEST_TMP"]) / f"{kind}{next(numbers)}"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture(scope="session")
def engine():
    """A dockerd of this test run with the base image. Tests that kill it start it again."""
    made = Engine(fresh_directory("engine"))
    try:
        made.start().load_base_image()
        yield made
    finally:
        made.stop()


@pytest.fixture
def make_daemon(engine):
    """make_daemon(settings…) -> a started daemon that uses the engine; each is stopped (and must stop well) at the
    end, and the engine swept."""
    made = []

    def make(settings=None, start=True, **options):
        if not BINARY.exists():
            pytest.fail(f"{BINARY} is not built: run scripts/test.sh, or cmake --build --preset release")
        daemon = Daemon(fresh_directory("daemon"), {"runtimes.docker.socket": engine.socket, **(settings or {})},
                        **options)
        made.append(daemon)
        return daemon.start() if start else daemon

    yield make
    try:
        for daemon in made:
            daemon.stop()
    finally:
        for daemon in made:
            daemon.kill()
        engine.sweep()


@pytest.fixture
def daemon(make_daemon):
    """A daemon that uses the engine, may clone from loopback, and is stopped at the end."""
    return make_daemon()


@pytest.fixture
def make_null_daemon():
    """make_null_daemon(settings…) -> a started daemon with the null runtime, and no engine; each must stop well."""
    made = []

    def make(settings=None, start=True, arguments=(), **options):
        daemon = Daemon(fresh_directory("daemon"), {"plugins.enabled": "null", **(settings or {})},
                        ["--plugin-dir", BUILD / "lib" / "minions" / "examples", *arguments], **options)
        made.append(daemon)
        return daemon.start() if start else daemon

    yield make
    try:
        for daemon in made:
            daemon.stop()
    finally:
        for daemon in made:
            daemon.kill()


@pytest.fixture
def git_http():
    """Repositories over plain HTTP for everybody."""
    server = GitHttp(fresh_directory("git"))
    yield server
    server.stop()


@pytest.fixture
def private_git():
    """Repositories over plain HTTP for those who have the token `private_git.token`."""
    server = GitHttp(fresh_directory("git"), token="canary-7Qm2xW9vKd41")
    yield server
    server.stop()


@pytest.fixture
def git_ssh():
    """Repositories over ssh for those who have the key `git_ssh.key`."""
    server = GitSsh(fresh_directory("ssh") / "d")
    yield server
    server.stop()
