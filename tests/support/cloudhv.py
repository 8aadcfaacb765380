"""Cloud Hypervisor for tests: the double, or the real one at MINIONS_TEST_CLOUD_HYPERVISOR."""

import os
import shutil
from pathlib import Path

from .daemon import BUILD
from .fixtures import fresh_directory

REAL = os.environ.get("MINIONS_TEST_CLOUD_HYPERVISOR", "")
SOURCE = Path(__file__).resolve().parent / "cloud_hypervisor_double"


def write_double(**environment):
    """The path of a program that is the double with these DOUBLE_ settings, for whoever starts it: VMMs run as users that
    need not be able to read the source tree."""
    directory = fresh_directory("chv")
    copy = shutil.copytree(SOURCE, directory / "double", ignore=shutil.ignore_patterns("__pycache__"))
    agent = shutil.copy(BUILD / "bin" / "minions-agent", directory / "agent")
    for path in (copy, *copy.iterdir(), Path(agent)):
        path.chmod(0o755)
    settings = {"AGENT": agent, **environment}
    words = " ".join(f"'DOUBLE_{name}={value}'" for name, value in settings.items())
    program = directory / "cloud-hypervisor"
    program.write_text(f"#!/bin/sh\nexec env {words} '{copy}/cloud-hypervisor' \"$@\"\n", encoding="utf-8")
    program.chmod(0o755)
    return program


def settings_of(program):
    """The double needs no KVM."""
    return {"runtimes.cloudhv.binary": program, **({} if str(program) == REAL else {"runtimes.cloudhv.kvm": "yes"})}
