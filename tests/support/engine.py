"""A real Docker Engine for tests: own data, own socket, own containerd, no registry.

It publishes ports and makes a bridge, so it only starts inside the namespaces that tests/integration/run makes.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path
from urllib.parse import quote, urlencode

from . import procs
from .http import UnixConnection, call
from .wait import until

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("MINIONS_TEST_CACHE", ROOT / "build" / "test-cache"))
BASE_IMAGE = "python:3.11-slim"
CHANGES = ["ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "ENV LANG=C.UTF-8",
           'CMD ["python3"]']


class Engine:
    """One dockerd below `directory`. start() returns when it answers; stop() leaves nothing of it."""

    name = "dockerd"

    def __init__(self, directory, hosts=()):
        if not os.environ.get("MINIONS_ISOLATED"):
            raise RuntimeError("an engine of the tests needs namespaces of its own: use tests/integration/run")
        self.directory = Path(directory)
        self.socket = self.directory / "docker.sock"
        self.exec_root = self.directory / "exec"
        self.log = self.directory / "dockerd.log"
        self.cgroup = os.environ["MINIONS_TEST_CGROUP"]
        self.hosts = list(hosts)  # further addresses to listen on: "tcp://127.0.0.1:2375"
        self.process = None

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self, seconds=60):
        """Starts it, returns when `_ping` answers. With its log if it does not."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([str(part) for part in self.command()], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        try:
            until(self.answers, f"{self.name} answers on its socket", seconds)
        except AssertionError as failure:
            self.stop()
            raise AssertionError(f"{failure}\n{self.log_tail()}") from None
        return self

    def command(self):
        config = self.directory / "daemon.json"
        config.write_text("{}")
        (self.directory / "pid").unlink(missing_ok=True)  # of one that was killed
        return ["/usr/sbin/dockerd" if Path("/usr/sbin/dockerd").exists() else "dockerd",
                "--config-file", config, "--data-root", self.directory / "data", "--exec-root", self.exec_root,
                "--pidfile", self.directory / "pid", "--host", f"unix://{self.socket}",
                *(part for host in self.hosts for part in ("--host", host)),
                "--cgroup-parent", self.cgroup, "--log-level", "warn"]

    def answers(self):
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}\n{self.log_tail()}")
        try:
            return self.api("GET", "/_ping", seconds=5).status == 200
        except OSError:
            return False

    @contextlib.contextmanager
    def hung(self):
        """Alive, and answering nobody."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill9(self, containerd=False):
        """SIGKILL for dockerd, as the OOM killer would do it; with `containerd` for that one too."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if containerd:
            for pid in self.containerds():
                os.kill(pid, signal.SIGKILL)
                until(lambda pid=pid: not procs.cmdline(pid), "containerd is gone")

    def terminate(self, seconds=30):
        """SIGTERM and, past the deadline, SIGKILL for dockerd. Containers stop with it; data stays."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def restart(self):
        self.terminate()
        return self.start()

    def stop(self):
        """Ends dockerd, its containerd and whatever they started; removes mounts, directories and cgroups."""
        self.terminate(seconds=5)  # it can wait 15 s for its containerd; nothing here is worth that
        for pid in self.containerds():
            procs.end(pid)
        for pid in procs.tagged(str(self.exec_root)):  # shims whose containerd was killed
            procs.end(pid, seconds=5)
        procs.unmount_below(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)
        remove_cgroups(self.cgroup)

    def containerds(self):
        return [pid for pid, line in procs.tagged(str(self.exec_root)).items() if line.split()[0].endswith("containerd")]

    def log_tail(self, lines=30):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    # -- its API -------------------------------------------------------------------------------------------------

    def api(self, method, path, body=None, seconds=120, headers=None):
        return call(UnixConnection(self.socket, seconds), method, path, body, headers)

    def docker(self, *arguments):
        """Runs Debian's docker command against this engine; AssertionError unless it succeeds."""
        result = subprocess.run(["/usr/bin/docker", "--host", f"unix://{self.socket}", *arguments],
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result
        return result.stdout

    def must(self, method, path, body=None, **options):
        """As api(), and AssertionError for anything but success."""
        reply = self.api(method, path, body, **options)
        assert reply.status < 300, f"engine: {method} {path}: {reply}"
        return reply

    def load_base_image(self):
        """Makes python:3.11-slim known to this engine, from the cached tar or by debootstrap."""
        tar = CACHE / "python-3.11-slim.tar"
        if not tar.exists():
            subprocess.run([ROOT / "scripts" / "make-base-image.sh", tar], check=True, stdin=subprocess.DEVNULL)
        repo, tag = BASE_IMAGE.split(":")
        query = urlencode([("fromSrc", "-"), ("repo", repo), ("tag", tag), *(("changes", c) for c in CHANGES)])
        with tar.open("rb") as content:
            reply = self.must("POST", f"/images/create?{query}", content, seconds=300,
                              headers={"Content-Type": "application/x-tar", "Content-Length": str(tar.stat().st_size)})
        assert '"error"' not in reply.text, reply.text
        return self

    def containers(self, label=None):
        """Every container, running or not, as the engine lists it; only those with `label` if given."""
        return self.must("GET", "/containers/json?all=1" + filters(label)).json

    def images(self, label=None):
        return self.must("GET", "/images/json?all=1" + filters(label)).json

    def inspect(self, container):
        return self.must("GET", f"/containers/{quote(container)}/json").json

    def run(self, command, image=BASE_IMAGE, environment=()):
        """Runs a container to its end, removes it, and returns its exit code and combined output."""
        made = self.must("POST", "/containers/create", {"Image": image, "Cmd": list(command), "Tty": True,
                                                        "Env": list(environment)}).json["Id"]
        try:
            self.must("POST", f"/containers/{made}/start")
            code = self.must("POST", f"/containers/{made}/wait").json["StatusCode"]
            return code, self.must("GET", f"/containers/{made}/logs?stdout=1&stderr=1").text
        finally:
            self.must("DELETE", f"/containers/{made}?force=1")

    def build(self, files, tag):
        """Builds an image from a context of `files` (name -> text or bytes, a Dockerfile among them) and returns the
        engine's output, whether it succeeded or not."""
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            for name, content in files.items():
                content = content if isinstance(content, bytes) else content.encode()
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return self.must("POST", f"/build?t={tag}&rm=1&forcerm=1&networkmode=none", context.getvalue(),
                         headers={"Content-Type": "application/x-tar"}).text

    def sweep(self):
        """Removes every container, and every image but the base image and its layers' cache."""
        for container in self.containers():
            self.api("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        for image in self.must("GET", "/images/json").json:
            if BASE_IMAGE not in (image["RepoTags"] or []):
                self.api("DELETE", f"/images/{image['Id']}?force=1")

    def traces(self):
        """What somebody could have left in this engine: ids of containers, tags and ids of images, volumes."""
        images = {image["Id"] if tag == "<none>:<none>" else tag for image in self.must("GET", "/images/json").json
                  for tag in image["RepoTags"] or [image["Id"]]}
        volumes = {volume["Name"] for volume in self.must("GET", "/volumes").json["Volumes"] or []}
        return {"containers": {name for c in self.containers() for name in c["Names"]}, "images": images,
                "volumes": volumes}


def filters(label):
    return "&" + urlencode({"filters": json.dumps({"label": [label]})}) if label else ""


def remove_cgroups(parent):
    """Removes the empty cgroups that killed containers left below `parent`, in every hierarchy."""
    for base in {Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")}:
        top = base / parent.lstrip("/")
        if top.is_dir():
            for directory, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    pass  # still populated: its process is dying, tests/integration/run tries again at the end
