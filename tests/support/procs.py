"""Processes and mounts as /proc shows them, and ending the former without ever hitting a stranger."""

import os
import signal
import subprocess
from pathlib import Path

from .wait import until


def cmdline(pid):
    """The arguments of a process as one string; empty for one that is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def tagged(tag):
    """pid -> command line of every process, this one excepted, whose arguments contain `tag`."""
    return {pid: line for pid in pids() if pid != os.getpid() and tag in (line := cmdline(pid))}


def environment(pid):
    """As cmdline(), the variables that a process was started with."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def directory(pid):
    """Where a process works, ended by a slash; empty for one that is gone."""
    try:
        return os.readlink(f"/proc/{pid}/cwd") + "/"
    except OSError:
        return ""


def around(path):
    """As tagged(), also for processes with `path` in their environment or working directory."""
    return {pid: line for pid in pids() if pid != os.getpid() and (line := cmdline(pid))
            and any(path in text for text in (line, environment(pid), directory(pid)))}


def end(pid, seconds=20.0):
    """SIGTERM, and SIGKILL for a process that is still there at the deadline."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
            until(lambda: not cmdline(pid), f"process {pid} ends on signal {number}", seconds)
            return
        except ProcessLookupError:
            return
        except AssertionError:
            if number == signal.SIGKILL:
                raise


def mounts_below(path):
    """Mount points at or below `path`, innermost first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == str(path) or point.startswith(f"{path}/"):
            found.append(point)
    return sorted(found, key=len, reverse=True)


def unmount_below(path):
    for point in mounts_below(path):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)
