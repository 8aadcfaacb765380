"""The daemon as an installation has it: the systemd unit, with the directories and the address that it has by default.
For a machine of one's own."""

import subprocess
from pathlib import Path

from .daemon import Daemon
from .wait import until

UNIT = "minions.service"
CONFIGURATION = Path("/etc/minions/minions.conf")


def systemctl(*arguments):
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"systemctl {' '.join(arguments)}: {done.stdout}{done.stderr}\n{logs_of(UNIT)}"
    return done.stdout.strip()


def logs_of(unit, lines=60):
    return subprocess.run(["journalctl", "--unit", unit, "--no-pager", "--output", "cat", "--lines", str(lines)],
                          capture_output=True, text=True, check=False).stdout


class Unit(Daemon):
    """As Daemon; `directory` is for what tests need beside it."""

    def __init__(self, directory, settings=None, arguments=()):
        super().__init__(directory, settings, arguments)
        self.state, self.run = Path("/var/lib/minions"), Path("/run/minions")
        self.socket = self.run / "minions.sock"
        CONFIGURATION.write_text("".join(f"{key} = {value}\n" for key, value in self.settings.items()))
        systemctl("daemon-reload")

    @staticmethod
    def pid():
        return int(systemctl("show", "--property", "MainPID", "--value", UNIT))

    def start(self, seconds=60):
        del seconds  # the unit's own bound
        systemctl("start", UNIT)
        self.address = "127.0.0.1:3000"
        return self

    def stop(self, seconds=10):
        del seconds
        systemctl("stop", UNIT)
        assert systemctl("show", "--property", "Result", "--value", UNIT) == "success", self.logs()

    def restart(self):
        systemctl("restart", UNIT)

    def kill(self):
        """SIGKILL, after which systemd starts it again: returns when it has."""
        before = self.pid()
        if before == 0:
            return
        systemctl("kill", "--kill-whom=main", "--signal=KILL", UNIT)
        until(lambda: self.pid() not in (0, before), "systemd starts it again", 60)
        systemctl("start", UNIT)  # waits for the start under way

    def logs(self, lines=60):
        return logs_of(UNIT, lines)
