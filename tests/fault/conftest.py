"""Makes tests/support importable, and the worlds of the torture tests, each once."""

import os
import sys
from pathlib import Path

import pytest

if not os.environ.get("MINIONS_ISOLATED"):
    pytest.exit("these tests start engines and daemons: run them by tests/fault/run, which isolates them", 2)

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from support.fixtures import engine, fresh_directory  # noqa: E402,F401
from support.gitserver import GitHttp  # noqa: E402
from support.samples import AGENT  # noqa: E402
from worlds import CloudhvWorld, DockerWorld, NullWorld, QemuWorld, StandInWorld  # noqa: E402


WORLDS = {"null": NullWorld, "cloudhv": CloudhvWorld, "qemu": QemuWorld, "standin": StandInWorld}


@pytest.fixture(scope="module")
def worlds(request):
    """worlds(kind) -> the world of that kind."""
    made = {}

    def make(kind):
        if kind not in made:
            if kind == "docker":
                git = GitHttp(fresh_directory("git"))
                request.addfinalizer(git.stop)
                made[kind] = DockerWorld(request.getfixturevalue("engine"), git.repo("agent", AGENT))
            else:
                made[kind] = WORLDS[kind]()
        return made[kind]

    yield make
    for world in made.values():
        world.clean_up()
