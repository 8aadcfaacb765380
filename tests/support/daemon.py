"""The daemon under test: `minions serve` with directories, sockets and configuration of its own."""

import http.client
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

from . import procs
from .http import UnixConnection, call
from .images import write_recipes
from .wait import SLOWNESS, until

BUILD = Path(os.environ.get("MINIONS_BUILD", Path(__file__).resolve().parents[2] / "build" / "release"))
BINARY = BUILD / "bin" / "minions"

# What every test needs to reach its own servers on loopback. `security` tests override them.
TEST_SETTINGS = {"deployments.allowed_schemes": "https,ssh,http,file", "deployments.allow_private_addresses": "true"}


class Daemon:
    """One daemon below `directory`. start() returns when it says that it is ready; requests go over TCP unless
    `unix=True`. stop() insists on exit code 0 within 10 seconds of SIGTERM."""

    def __init__(self, directory, settings=None, arguments=(), configuration=""):
        self.directory = Path(directory)
        self.state, self.run, self.work = (self.directory / name for name in ("state", "run", "work"))
        self.socket = self.run / "minions.sock"
        self.config = self.directory / "minions.conf"
        self.log = self.directory / "daemon.log"
        self.settings = {**TEST_SETTINGS, "deployments.work_dir": self.work,
                         "images.recipes_dir": self.directory / "recipes", **(settings or {})}
        self.arguments = list(arguments)
        self.process, self.address, self.ready_line = None, None, None
        self.work.mkdir(parents=True, exist_ok=True)
        self.config.write_text(configuration)
        write_recipes(self.directory / "recipes")

    # -- life ----------------------------------------------------------------------------------------------------

    def launch(self):
        """Starts the process without waiting for anything."""
        command = [BINARY, "serve", "--config", self.config, "--bind", "127.0.0.1:0", "--socket", self.socket,
                   "--state-dir", self.state, "--run-dir", self.run, *self.arguments]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        self.address = self.ready_line = None
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        threading.Thread(target=self._collect, args=(self.process,), daemon=True).start()
        return self

    def start(self, seconds=30):
        assert BINARY.exists(), f"{BINARY} is not built: cmake --build --preset release"
        self.launch()
        until(lambda: self.address or self.process.poll() is not None, "the daemon says that it is ready", seconds)
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}\n{self.logs()}"
        return self

    def _collect(self, process):
        with self.log.open("ab") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                text = line.decode(errors="replace")
                found = re.search(r"https?://(127\.0\.0\.1:\d+|\[::1\]:\d+|localhost:\d+)", text)
                if found and "ready" in text and process is self.process:
                    self.ready_line, self.address = text.strip(), found.group(1)

    def stop(self, seconds=10):
        """SIGTERM. AssertionError unless it exits with 0 in time; it is gone afterwards in any case."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            code = self.process.wait(seconds * SLOWNESS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the daemon did not exit within {seconds} s of SIGTERM\n{self.logs()}") from None
        finally:
            self.process = None
        assert code == 0, f"the daemon exited with {code} after SIGTERM\n{self.logs()}"

    def kill(self):
        """SIGKILL."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def restart(self):
        self.stop()
        return self.start()

    def logs(self, lines=60):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    # -- requests ------------------------------------------------------------------------------------------------

    def request(self, method, target, body=None, headers=None, token=None, unix=False, seconds=120):
        headers = dict(headers or {})
        seconds *= SLOWNESS
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if unix:
            return call(UnixConnection(self.socket, seconds), method, target, body, headers)
        host, port = self.address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=seconds)
        return call(connection, method, target, body, headers)

    def get(self, target, **options):
        return self.request("GET", target, **options)

    def post(self, target, body=None, **options):
        return self.request("POST", target, body, **options)

    def delete(self, target, **options):
        return self.request("DELETE", target, **options)

    def cli(self, *arguments, stdin=None, seconds=120, unix=False):
        """Runs `minions --host <this daemon> …`; the result has returncode, stdout and stderr as text."""
        host = f"unix:{self.socket}" if unix else f"http://{self.address}"
        return subprocess.run([str(BINARY), "--host", host, *map(str, arguments)], input=stdin,
                              stdin=None if stdin is not None else subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=seconds, check=False)

    # -- leftovers -----------------------------------------------------------------------------------------------

    def files(self):
        """Paths of the files, sockets and links in the state and run directories, relative to them, without what is
        meant to stay: the database, its backups, and logs. And clones, whatever is in them."""
        kept = {str(path.relative_to(base)) for base in (self.state, self.run) for path in base.rglob("*")
                if not path.name.startswith("state.db") and path.suffix != ".log"
                and (path.is_symlink() or not path.is_dir())}
        return kept | {f"work/{path.name}" for path in self.work.iterdir()}

    def helpers(self):
        """Processes that work for this daemon: git, ssh and others that have its directories in their arguments or
        environment, or work in them."""
        own = self.process.pid if self.process else None
        return {pid: line for pid, line in procs.around(f"{self.directory}/").items() if pid != own}
