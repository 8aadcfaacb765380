"""Hostile values for every input that reaches git, the engine, the file system or another host: each is refused with
a 4xx that says why, before anything happened."""

import http.client
import io
import json
import os
import socket
import subprocess
import tarfile

import pytest
from support import procs
from support.daemon import BINARY
from support.deploys import V1, deploy, deployed, finished
from support.fixtures import fresh_directory
from support.gitserver import GitHttp, make_repo
from support.leaks import nothing_behind
from support.samples import AGENT
from support.wait import until

IMAGE = "python:3.11-slim"
CANARY_FILE = "/tmp/minions-was-here"


@pytest.fixture
def strict(make_daemon, engine):
    """A daemon with the schemes and addresses that are allowed by default, and a proof that nothing ran."""
    keys = fresh_directory("keys")
    daemon = make_daemon({"deployments.allowed_schemes": "https,ssh", "deployments.allow_private_addresses": "false",
                          "deployments.key_dir": keys})
    daemon.keys = keys
    assert not os.path.exists(CANARY_FILE)
    with nothing_behind(engine, daemon):
        yield daemon
    assert not os.path.exists(CANARY_FILE)


def is_refused(reply, field):
    """400, and a sentence that names the field."""
    assert reply.status == 400, reply
    said = reply.json.get("detail", reply.json.get("error"))
    assert field in said, f"'{field}' is not named in {reply}"


# -- repo_url --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [
    f"--upload-pack=touch {CANARY_FILE}", "-u", f"ext::sh -c touch% {CANARY_FILE}", "fd::17", "transport::address",
    "file:///etc", "/etc", "./relative", "http://example.invalid/x", "git://example.invalid/x",
    "ftp://example.invalid/x", "https://user:secret@example.invalid/x", "https://token@example.invalid/x",
    "https://example.invalid/x\nhost: y", "https://example.invalid/\0", "https://example.invalid/\x1b[2J", "https://",
    "https:///x", f"ssh://-oProxyCommand=touch {CANARY_FILE}/x", "ssh://-oProxyCommand=x/x",
    f"git@-oProxyCommand=touch{CANARY_FILE}:x", "-oProxyCommand=x:y", "https://example.invalid/" + "x" * 2100,
    "https://example.invalid:99999/x", "HTTPS::https://example.invalid/x", "", " https://example.invalid/x",
], ids=lambda url: repr(url[:40]))
def test_a_hostile_repository(strict, url):
    is_refused(deploy(strict, url), "repo_url")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "192.168.1.1", "172.16.0.1",
                                  "169.254.169.254", "100.64.0.1", "0.0.0.0", "[::ffff:127.0.0.1]", "[fe80::1]",
                                  "[fd00::1]", "2130706433", "0x7f.1", "127.1"])
def test_an_address_inside_is_no_repository(strict, host):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.3)
        port = listener.getsockname()[1]
        for scheme in ("https", "ssh"):
            is_refused(deploy(strict, f"{scheme}://{host}:{port}/x.git"), "repo_url")
        with pytest.raises(TimeoutError):
            listener.accept()  # and nobody knocked


@pytest.fixture
def elsewhere():
    """Another host, which would serve whoever asks."""
    server = GitHttp(fresh_directory("git"), address="127.0.0.2")
    yield server
    server.stop()


@pytest.mark.parametrize("token, private", [(None, False), ("canary-7Qm2xW9vKd41", False),
                                            ("canary-7Qm2xW9vKd41", True)],
                         ids=["open", "with a token", "after the token was asked for"])
def test_a_redirect_to_another_host_is_not_followed(daemon, engine, elsewhere, token, private):
    elsewhere.repo("agent", AGENT)
    server = GitHttp(fresh_directory("git"), token=token if private else None, redirect=elsewhere.url)
    try:
        with nothing_behind(engine, daemon):
            reply = deploy(daemon, f"{server.url}/agent.git", auth_token=token)
    finally:
        server.stop()
    assert reply.status == 502 and reply.json["stage"] == "cloning", reply
    assert any(allowed for _, _, allowed in server.requests), "it was redirected"
    assert elsewhere.requests == [] and elsewhere.credentials == []
    assert found_in_files(daemon, "canary-7Qm2xW9vKd41") == []


# -- branch, names, numbers, commands, environment -------------------------------------------------------------------

FIELDS = {
    "branch": [f"--upload-pack=touch {CANARY_FILE}", "-b", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b",
               "/a", "a/", "a//b", "a.lock", "a.", "@{-1}", "@", "", "a\nb", "a\x7fb", "x" * 4096],
    "agent_name": ["../a", "A", "-a", "a-", "a_b", "a b", "a/b", "a\0", "", "a" * 41, "ä", "a.b", "a\n"],
    "python_version": ["3", "2.7", "3.11 AS x", "3.11\nRUN touch /x", "3.11-slim", "latest", "3.", "3.11.", "../3.11",
                       "", "3.11.1.1", "4.0", 3.11],
    "expose_port": [0, -1, 65536, 1 << 40, "8080", 8080.5, True],
    "startup_cmd": ["python main.py", [], [""], ["a\0b"], [1], [["a"]], {}],
    "environment": [{"A B": "x"}, {"1A": "x"}, {"": "x"}, {"A=B": "x"}, {"A\nRUN": "x"}, {"Ä": "x"}, {"A": "x\0y"},
                    {"A": 1}, {"A": "x" * (129 << 10)}, ["A=b"]],
    "health_path": ["health", "//host/x", "/a b", "/a\\b", "/a#b", "/a\r\nX: y", "/" + "x" * 1024, "", "http://x/"],
    "dockerfile": ["generated;x", "/etc/passwd", "../Dockerfile", 1],
}


@pytest.mark.parametrize("field, value", [(f, v) for f, values in FIELDS.items() for v in values],
                         ids=lambda value: repr(value)[:40])
def test_a_hostile_field(strict, field, value):
    is_refused(deploy(strict, **{"repo_url": "https://example.invalid/x", field: value}), field)


def test_shell_words_in_a_command_stay_words(daemon, git_http):
    words = ["$(touch /tmp/x)", "`id`", ";", "&&", '"', "a\nRUN touch /y", "${PATH}"]
    made = deployed(daemon, git_http.repo("a", AGENT),
                    startup_cmd=["python", "-c", "import sys, json; print(json.dumps(sys.argv[1:]))", *words])
    said = until(lambda: daemon.get(f"/api/vms/{made['container_name']}/logs").text, "the agent says something")
    assert json.loads(said) == words


def test_environment_reaches_the_agent_unchanged_and_is_redacted_everywhere_else(daemon, engine, git_http):
    secret = "s3cr3t-Zp81 \"quoted\" $HOME\nRUN touch /injected"
    made = deployed(daemon, git_http.repo("a", AGENT), environment={"API_KEY": secret})
    name = made["container_name"]
    inside = daemon.post(f"/api/vms/{name}/exec", {
        "command": "python", "args": ["-c", "import os, json; print(json.dumps([os.environ['API_KEY'], "
                                            "os.path.exists('/injected')]))"]}).json
    assert json.loads(inside["stdout"]) == [secret, False]
    for reply in (daemon.get("/api/vms"), daemon.get(f"/api/vms/{name}"), daemon.get(f"{V1}/list?all=1"),
                  daemon.get(f"{V1}/health/{name}")):
        assert "s3cr3t-Zp81" not in reply.text
    assert found_in_files(daemon, "s3cr3t-Zp81") == []
    image = engine.inspect(name)["Image"]
    assert "s3cr3t-Zp81" not in engine.must("GET", f"/images/{image}/history").text


# -- ssh_key_path ----------------------------------------------------------------------------------------------------


def key_variants(directory, outside):
    """name -> ssh_key_path that must be refused, made below `directory`."""
    good = directory / "good"
    good.write_text("not really a key\n")
    good.chmod(0o600)
    (directory / "link").symlink_to(outside)
    (directory / "inner-link").symlink_to(good)
    (directory / "linked-dir").symlink_to(outside.parent)
    (directory / "dir").mkdir()
    for name, mode in (("readable", 0o640), ("world", 0o604)):
        (directory / name).write_text("key")
        (directory / name).chmod(mode)
    (directory / "big").write_bytes(b"x" * (17 << 10))
    (directory / "big").chmod(0o600)
    os.mkfifo(directory / "fifo", 0o600)
    names = ["link", "inner-link", f"linked-dir/{outside.name}", "dir", "readable", "world", "big", "fifo", "absent",
             f"../{outside.parent.name}/{outside.name}", "dir/../../x", "good;touch " + CANARY_FILE, "good\n", "good\0"]
    return [f"{directory}/{name}" for name in names] + [str(outside), "/etc/shadow", "/dev/zero", "-i", ""]


def test_a_hostile_key_path(strict):
    outside = fresh_directory("outside") / "key"
    outside.write_text("key")
    outside.chmod(0o600)
    for path in key_variants(strict.keys, outside):
        reply = deploy(strict, "ssh://git@example.invalid/x.git", ssh_key_path=path)
        assert reply.status == 400 and "ssh_key_path" in reply.json["detail"], f"{path!r}: {reply}"


# -- auth_token ------------------------------------------------------------------------------------------------------


def found_in_files(daemon, needle):
    """Files of the daemon (database, write-ahead log, logs, anything) that contain `needle`."""
    return [str(path) for path in daemon.directory.rglob("*")
            if path.is_file() and not path.is_symlink() and needle.encode() in path.read_bytes()]


def found_in_processes(needle):
    """Command lines that contain `needle`, of every process there is."""
    return list(procs.tagged(needle).values())


def found_in_image(engine, image, needle):
    """Members of an image's layers, configuration or history that contain `needle`."""
    found = []
    outer = tarfile.open(fileobj=io.BytesIO(engine.must("GET", f"/images/{image}/get", seconds=300).body))
    for member in outer:
        content = outer.extractfile(member).read() if member.isfile() else b""
        if needle.encode() in content:
            found.append(member.name)
    return found


def test_a_token_is_nowhere_but_with_git(daemon, engine, private_git):
    token = private_git.token
    url = private_git.repo("agent", AGENT)
    private_git.hold()
    reply = deploy(daemon, url, auth_token=token, headers={"Prefer": "respond-async"})
    assert reply.status == 202 and token not in reply.text
    # While git waits for the server, it and its helpers are there to be looked at.
    until(lambda: private_git.requests, "git asks the server")
    assert found_in_processes(token) == []
    private_git.release()
    ended = finished(daemon, reply.json["id"])
    assert ended["status"] == "succeeded" and token not in json.dumps(ended)
    assert any(allowed for _, _, allowed in private_git.requests), "the token was used"

    name = ended["result"]["container_name"]
    for path in (f"{V1}/list", f"/api/vms/{name}", "/api/operations/" + reply.json["id"]):
        assert token not in daemon.get(path).text
    inside = engine.inspect(name)
    assert token not in json.dumps(inside)
    assert found_in_image(engine, inside["Image"], token) == []
    assert found_in_image(engine, inside["Image"], "x-access-token") == []
    daemon.stop()  # what was only in memory is written by now
    assert found_in_files(daemon, token) == []


def test_a_token_goes_to_nobody_who_does_not_ask(daemon, git_http, private_git):
    assert deployed(daemon, git_http.repo("agent", AGENT), auth_token=private_git.token)["status"] == "running"
    assert git_http.credentials == []


def test_a_wrong_token_is_not_repeated_in_the_refusal(daemon, private_git):
    reply = deploy(daemon, private_git.repo("agent", AGENT), auth_token="wrong-token-4711")
    assert reply.status == 502 and "wrong-token-4711" not in reply.text
    assert "wrong-token-4711" not in daemon.get(f"{V1}/deployments/{reply.json['deployment_id']}/log").text
    assert found_in_files(daemon, "wrong-token-4711") == []


@pytest.mark.parametrize("token", ["a\nb", "a\0b", "a\rb", "", "x" * 70000], ids=lambda t: repr(t[:8]))
def test_a_hostile_token(strict, token):
    is_refused(deploy(strict, "https://example.invalid/x", auth_token=token), "auth_token")


# -- what a repository brings ----------------------------------------------------------------------------------------


def test_hooks_submodules_and_git_directory_of_a_repository_do_nothing(daemon, engine, git_http):
    url = git_http.repo("agent", {**AGENT, ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = {git_http.url}/sub\n',
                                  ".gitattributes": "* filter=evil\n"})
    made = deployed(daemon, url)
    assert not any("/sub" in path for _, path, _ in git_http.requests)
    listing = daemon.post(f"/api/vms/{made['container_name']}/exec",
                          {"command": "find", "args": ["/", "-xdev", "-name", ".git", "-not", "-path", "/proc/*"]})
    assert listing.json["stdout"] == ""


def test_a_repository_of_links_reads_nothing_of_the_host(daemon, git_http):
    directory = fresh_directory("repo")
    outside = directory / "outside"
    outside.write_text("of the host alone\n")
    repo = make_repo(git_http.root / "links.git", AGENT)
    work = directory / "work"
    subprocess.run(["git", "clone", "-q", repo, work], check=True)
    for name in ("requirements.txt", "secret.txt"):
        (work / name).symlink_to(outside)
    subprocess.run("git add -A && git -c user.name=t -c user.email=t@example.invalid commit -qm links && "
                   "git push -q origin HEAD:main", shell=True, check=True, cwd=work)
    reply = deploy(daemon, f"{git_http.url}/links.git")
    assert reply.status in (200, 502) and "of the host alone" not in reply.text, reply
    if reply.status == 200:  # refusing such a repository would do as well
        read = daemon.post(f"/api/vms/{reply.json['container_name']}/exec",
                           {"command": "sh", "args": ["-c", "cat secret.txt requirements.txt"]})
        assert "of the host alone" not in read.text


def test_a_dockerfile_of_the_repository_gets_no_frontend(daemon, engine, git_http):
    url = git_http.repo("agent", {**AGENT, "Dockerfile": "# syntax=evil.example.invalid/frontend\n"
                                                         f"FROM {IMAGE}\nCMD [\"true\"]\n"})
    with nothing_behind(engine, daemon):
        reply = deploy(daemon, url, dockerfile="repository")
    # Seen only after the clone, so it is a failed deployment rather than an invalid request.
    assert reply.status in (400, 502) and "syntax" in reply.text, reply


# -- health path and names on every route ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["health", "%2F%2Fhost%2Fx", "http%3A%2F%2F169.254.169.254%2F", "%2Fa%20b",
                                  "%2Fa%5Cb", "%2Fa%23b", "%2Fa%0D%0AX%3A%20y", "%2Fa%00", "%2F" + "x" * 1024,
                                  "%40127.0.0.1%2F"])
def test_a_hostile_health_path(daemon, git_http, path):
    made = deployed(daemon, git_http.repo("a", AGENT))
    is_refused(daemon.get(f"{V1}/health/{made['container_name']}?path={path}"), "path")


def test_a_probe_follows_no_redirect_and_reads_no_more_than_it_must(daemon, git_http):
    agent = "import http.server\n\n\nclass H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n" \
            "        big = self.path == '/big'\n        self.send_response(200 if big else 302)\n" \
            "        self.send_header('Location', 'http://127.0.0.1:1/')\n        self.end_headers()\n" \
            "        self.wfile.write(b'x' * (10 << 20) if big else b'')\n\n\n" \
            "http.server.HTTPServer(('', 8080), H).serve_forever()\n"
    made = deployed(daemon, git_http.repo("a", {"main.py": agent}))
    health = f"{V1}/health/{made['container_name']}"
    until(lambda: daemon.get(f"{health}?path=/x").json["http_probe"]["status_code"] == 302, "the redirect is reported",
          20, pause=0.2)
    assert len(daemon.get(f"{health}?path=/big").body) < 256 << 10


@pytest.mark.parametrize("name", ["..%2Fa", "%2e%2e", "A", "-a", "a%00", "a%0a", "a%2Fb", "a" * 64, "a%20b", "%C3%A4"])
@pytest.mark.parametrize("method, path", [("GET", "/api/vms/{}"), ("DELETE", "/api/vms/{}"),
                                          ("POST", "/api/vms/{}/exec"), ("GET", "/api/vms/{}/logs"),
                                          ("POST", "/api/vms/{}/stop"), ("GET", V1 + "/health/{}")])
def test_a_hostile_name_on_every_route(daemon, method, path, name):
    body = {"command": "true"} if path.endswith("exec") else None
    # A NUL is refused while the path is decoded, before there is a name.
    is_refused(daemon.request(method, path.format(name), body), "path" if "%00" in name else "name")


# -- who may ask -----------------------------------------------------------------------------------------------------


def as_nobody(*command):
    """Runs a command as a user without rights and returns its output."""
    return subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *map(str, command)],
                          capture_output=True, text=True, timeout=30, check=False)


def status_for_nobody(daemon, *arguments):
    return as_nobody("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *arguments,
                     f"http://{daemon.address}/api/vms").stdout


def test_another_local_user_needs_a_token(daemon):
    assert daemon.get("/api/vms").status == 200  # root
    assert status_for_nobody(daemon) == "403"
    assert as_nobody("curl", "-s", "--unix-socket", daemon.socket, "http://localhost/api/vms").returncode != 0
    assert oct(daemon.socket.stat().st_mode & 0o777) == "0o660"
    made = subprocess.run([BINARY, "--host", f"http://{daemon.address}", "--json", "token", "create", "laptop",
                           "--scope", "read"],
                          capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    token = json.loads(made.stdout)["token"]
    assert status_for_nobody(daemon, "-H", f"Authorization: Bearer {token}") == "200"
    assert status_for_nobody(daemon, "-H", f"Authorization: Bearer {token}x") == "401"
    refused = as_nobody("curl", "-s", "-w", "%{http_code}", "-X", "DELETE", "-H", f"Authorization: Bearer {token}",
                        f"http://{daemon.address}/api/vms/a").stdout
    assert refused.endswith("403")
    assert found_in_files(daemon, token) == []


def test_a_client_that_sends_and_closes_gains_nothing(daemon):
    """Its socket shows uid 0 once closed; the request must not run as root's."""
    script = ("import socket; s = socket.create_connection(('127.0.0.1', {port}));"
              "b = b'{{\"name\":\"sneaked\",\"image\":\"{image}\",\"runtime\":\"docker\"}}';"
              "s.sendall(b'POST /api/vms HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Type: application/json\\r\\n"
              "Content-Length: %d\\r\\n\\r\\n' % len(b) + b); s.close()")
    port = daemon.address.rsplit(":", 1)[1]
    for _ in range(50):
        assert as_nobody("/usr/bin/python3", "-c", script.format(port=port, image=IMAGE)).returncode == 0
    assert daemon.get("/api/vms").json == []
    assert daemon.get("/api/vms/sneaked").status == 404


@pytest.mark.parametrize("header", ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "Via: 1.1 proxy",
                                    "X-Forwarded-Host: localhost"])
def test_what_came_through_a_proxy_is_not_local(daemon, header):
    name, value = header.split(": ")
    assert daemon.get("/api/vms", headers={name: value}).status == 401


def test_host_and_origin_are_checked(daemon):
    assert daemon.get("/api/vms", headers={"Host": "attacker.example"}).status == 421
    assert daemon.get("/api/vms", headers={"Origin": "http://attacker.example"}).status == 403
    assert "Access-Control-Allow-Origin" not in daemon.get("/api/vms").headers


def test_a_form_of_a_foreign_page_is_refused(daemon):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert daemon.post("/api/vms", b'{"name":"a"}', headers={"Content-Type": kind}).status == 415
    assert daemon.get("/api/vms").json == []


def test_a_remote_bind_wants_a_token_or_a_trusted_network(make_daemon):
    daemon = make_daemon(start=False, arguments=["--bind", "0.0.0.0:0"])
    daemon.launch()
    assert daemon.process.wait(10) != 0
    daemon.process = None
    until(lambda: "access.trusted" in daemon.logs() and "token" in daemon.logs(), "the refusal says both ways to go on")


def test_headers_have_limits(daemon):
    host, port = daemon.address.rsplit(":", 1)
    for header, status in ((("X-Long", "x" * (1 << 20)), 431), (None, 414)):
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        try:
            connection.request("GET", "/api/vms" + ("" if header else "?x=" + "y" * (1 << 20)),
                               headers=dict([header]) if header else {})
            assert connection.getresponse().status == status
        except (BrokenPipeError, ConnectionResetError):
            pass  # it stopped reading, which is refusal enough
        finally:
            connection.close()
    assert daemon.get("/api/vms").status == 200
