"""Git repositories for tests, and two ways to reach them: HTTP with an optional token, ssh with a key."""

import base64
import os
import shutil
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from . import procs
from .wait import until

CLEAN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1",
         "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0",
         **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Test"), ("EMAIL", "test@example.invalid"))}}


def git(*arguments, cwd=None, environment=None):
    """Runs git untouched by this machine's configuration; AssertionError with its words if it fails."""
    done = subprocess.run(["git", *map(str, arguments)], cwd=cwd, env={**CLEAN, **(environment or {})},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"git {arguments}: {done.stderr}"
    return done.stdout


def make_repo(path, files, branch="main"):
    """Makes a bare repository at `path` with one commit of `files` (name -> text or bytes) on `branch`, or
    another commit on it where the repository exists. Returns path."""
    path = Path(path)
    work = path.with_name(path.name + ".work")
    shutil.rmtree(work, ignore_errors=True)
    if path.exists():
        git("clone", "-q", path, work)
        git("checkout", "-q", "-B", branch, cwd=work)
    else:
        git("init", "-q", "--bare", f"--initial-branch={branch}", path)
        git("init", "-q", f"--initial-branch={branch}", work)
        git("remote", "add", "origin", path, cwd=work)
    for name, content in files.items():
        file = work / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    git("add", "-A", cwd=work)
    git("commit", "-q", "--allow-empty", "-m", "Content", cwd=work)
    git("push", "-q", "origin", branch, cwd=work)
    shutil.rmtree(work)
    return path


class GitHttp:
    """Serves the repositories below `root` at self.url by git http-backend. With `token`, only to those who send it
    as the password of Basic authentication, whatever the user name; with `redirect`, a URL, it sends whom it would
    serve there. `requests` lists (method, path, authorized), `credentials` the Authorization headers that came;
    `hold()` makes requests wait until `release()`, for tests that need a clone under way."""

    def __init__(self, root, token=None, address="127.0.0.1", redirect=None):
        self.root, self.token, self.redirect = Path(root), token, redirect
        self.requests, self.credentials = [], []
        self.gate = threading.Event()
        self.gate.set()
        self.server = ThreadingHTTPServer((address, 0), self._handler())
        self.server.daemon_threads = True
        self.host = f"{address}:{self.server.server_address[1]}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def repo(self, name, files, branch="main"):
        """Makes (or adds a commit to) the repository `name` and returns its URL."""
        make_repo(self.root / f"{name}.git", files, branch)
        return f"{self.url}/{name}.git"

    def hold(self):
        self.gate.clear()

    def release(self):
        self.gate.set()

    def stop(self):
        self.release()
        self.server.shutdown()
        self.server.server_close()

    def authorized(self, header):
        if self.token is None:
            return True
        kind, _, value = (header or "").partition(" ")
        try:
            password = base64.b64decode(value).decode().partition(":")[2]
        except ValueError:
            return False
        return kind.lower() == "basic" and password == self.token

    def _handler(server):  # noqa: N805 -- `self` is the request's in here
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                self.answer()

            do_POST = do_GET

            def answer(self):
                given = self.headers.get("Authorization")
                allowed = server.authorized(given)
                server.credentials += [given] if given else []
                server.requests.append((self.command, self.path, allowed))
                body = self.body()
                server.gate.wait()
                self.close_connection = True
                if not allowed:
                    self.refuse(401, "WWW-Authenticate", 'Basic realm="git"')
                elif server.redirect:
                    self.refuse(302, "Location", server.redirect + self.path)
                else:
                    self.backend(body)

            def refuse(self, status, header, value):
                self.send_response(status)
                self.send_header(header, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def body(self):
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    content = b""
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        content += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                    return content
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def backend(self, body):
                path, _, query = self.path.partition("?")
                done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env={
                    **CLEAN, "GIT_PROJECT_ROOT": str(server.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
                    "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_ADDR": "127.0.0.1",
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")})
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
                self.send_response(int(fields.pop("Status", "200").split()[0]))
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler


class GitSsh:
    """sshd on a loopback port of its own, serving repositories to whoever holds self.key as user root.
    url(path) is what ssh clients take; known_hosts the line that names its host key. Runs inside
    tests/integration/run only: there root's shell and home are the machine's, but nobody else can connect."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True)
        self.key = self._keygen("client_key")
        host_key = self._keygen("host_key")
        shutil.copy(f"{self.key}.pub", self.directory / "authorized_keys")
        self.port = free_port()
        self.log = self.directory / "sshd.log"
        config = self.directory / "sshd_config"
        config.write_text(f"""
ListenAddress 127.0.0.1:{self.port}
HostKey {host_key}
PidFile none
AuthorizedKeysFile {self.directory}/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
AllowTcpForwarding no
X11Forwarding no
""")
        self.known_hosts = f"[127.0.0.1]:{self.port} {Path(f'{host_key}.pub').read_text()}"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        until(lambda: "listening" in self.log.read_text() or self.process.poll() is not None, "sshd listens")
        assert self.process.poll() is None, self.log.read_text()

    def url(self, path):
        return f"ssh://root@127.0.0.1:{self.port}{path}"

    def stop(self):
        procs.end(self.process.pid)
        self.process.wait()
        shutil.rmtree(self.directory)

    def _keygen(self, name):
        path = self.directory / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True)
        return path


def free_port():
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
