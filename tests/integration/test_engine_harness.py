"""The harness itself: what the other files take for granted about engines, repositories and servers."""

import http.client
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import procs
from support.engine import BASE_IMAGE, ROOT, Engine
from support.fixtures import fresh_directory
from support.gitserver import free_port, git, make_repo
from support.http import call
from support.samples import AGENT, SLOW_BUILD, with_project, with_requirements
from support.wait import until


def test_a_container_runs_python_under_both_names_and_pip(engine):
    for name in ("python", "python3"):
        assert engine.run([name, "-c", "import sys, ssl, venv, sqlite3; print(sys.version_info[:2])"]) \
            == (0, "(3, 11)\r\n")
    assert engine.run(["pip", "--version"])[0] == 0


def test_the_base_image_has_a_command_and_is_all_there_is(engine):
    assert engine.traces() == {"containers": set(), "images": {BASE_IMAGE}, "volumes": set()}
    assert engine.must("GET", f"/images/{BASE_IMAGE}/json").json["Config"]["Cmd"] == ["python3"]


def test_a_published_port_answers_on_loopback(engine):
    files = "import http.server as h; h.HTTPServer(('', 80), h.SimpleHTTPRequestHandler).serve_forever()"
    made = engine.must("POST", "/containers/create", {
        "Image": BASE_IMAGE, "Cmd": ["python3", "-c", files], "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}}}).json["Id"]
    engine.must("POST", f"/containers/{made}/start")
    port = engine.inspect(made)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
    fetched = subprocess.run(["curl", "-sf", "--retry", "20", "--retry-all-errors", "--retry-delay", "1",
                              f"http://127.0.0.1:{port}/etc/hostname"], capture_output=True, timeout=60)
    engine.must("DELETE", f"/containers/{made}?force=1")
    assert fetched.returncode == 0 and fetched.stdout.decode().strip() == made[:12]


def test_images_and_containers_come_back_after_kill_9(engine):
    made = engine.must("POST", "/containers/create", {"Image": BASE_IMAGE, "Cmd": ["sleep", "60"]}).json["Id"]
    engine.must("POST", f"/containers/{made}/start")
    engine.kill9()
    with pytest.raises(OSError):
        engine.api("GET", "/_ping")
    engine.start()
    assert BASE_IMAGE in engine.traces()["images"]
    assert engine.inspect(made)["State"]["Running"] is False
    engine.must("POST", f"/containers/{made}/start")  # and it works again
    engine.must("DELETE", f"/containers/{made}?force=1")


@pytest.mark.parametrize("how", ["stop", "kill9 both"])
def test_an_engine_leaves_nothing(how):
    second = Engine(fresh_directory("second") / "d").start()
    directory = str(second.directory)
    assert procs.tagged(directory)
    if how == "kill9 both":
        second.kill9(containerd=True)
    second.stop()
    assert not procs.tagged(directory)
    assert not procs.mounts_below(directory)
    assert not os.path.exists(directory)


def test_nothing_of_the_machine_outside_is_in_reach():
    interfaces = [name for _, name in socket.if_nameindex()]
    assert all(name == "lo" or name.startswith(("docker", "veth")) for name in interfaces), interfaces
    assert procs.cmdline(1).startswith("bash"), "process 1 is the shell of tests/integration/run"


def test_a_repository_is_cloned_over_http(git_http, tmp_path):
    url = git_http.repo("agent", AGENT)
    git("clone", "-q", "--depth=1", "--branch=main", "--", url, tmp_path / "clone")
    assert (tmp_path / "clone" / "main.py").read_text() == AGENT["main.py"]


def test_a_private_repository_wants_its_token(private_git, tmp_path):
    url = private_git.repo("agent", AGENT)
    with pytest.raises(AssertionError, match="could not read Username|Authentication failed"):
        git("clone", "-q", "--", url, tmp_path / "refused")
    with_token = url.replace("//", f"//x-access-token:{private_git.token}@")
    git("clone", "-q", "--", with_token, tmp_path / "clone")
    assert (tmp_path / "clone" / "main.py").exists()
    with pytest.raises(AssertionError, match="Authentication failed"):
        git("clone", "-q", "--", url.replace("//", "//x-access-token:wrong@"), tmp_path / "wrong")


def test_a_repository_is_cloned_over_ssh_by_key(git_ssh, tmp_path):
    repo = make_repo(fresh_directory("repo") / "agent.git", AGENT)
    known = tmp_path / "known_hosts"
    known.write_text(git_ssh.known_hosts)
    ssh = f"ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={known}"
    key = f"{ssh} -o IdentitiesOnly=yes -i {git_ssh.key}"
    git("clone", "-q", git_ssh.url(repo), tmp_path / "clone", environment={"GIT_SSH_COMMAND": key})
    assert (tmp_path / "clone" / "main.py").exists()
    with pytest.raises(AssertionError, match="Permission denied"):
        git("clone", "-q", git_ssh.url(repo), tmp_path / "refused", environment={"GIT_SSH_COMMAND": ssh})


def test_a_second_commit_and_a_branch(git_http, tmp_path):
    git_http.repo("agent", {"a": "1"})
    git_http.repo("agent", {"a": "2"})
    url = git_http.repo("agent", {"a": "3"}, branch="other")
    git("clone", "-q", "--branch=main", url, tmp_path / "main")
    git("clone", "-q", "--branch=other", url, tmp_path / "other")
    assert (tmp_path / "main" / "a").read_text() == "2" and (tmp_path / "other" / "a").read_text() == "3"


@pytest.mark.parametrize("files, install, text", [
    (with_requirements(), "pip install --no-index -r requirements.txt", "hello from a wheel"),
    (with_project(), "pip install --no-index .", "hello from a project"),
], ids=["requirements.txt", "pyproject.toml"])
def test_samples_with_dependencies_build_without_an_index(engine, files, install, text):
    dockerfile = f"FROM {BASE_IMAGE}\nWORKDIR /app\nCOPY . .\nRUN {install}\n"
    output = engine.build({**files, "Dockerfile": dockerfile}, "sample:1")
    code, said = engine.run(["python", "-c", "import greeting; print(greeting.TEXT)"], image="sample:1")
    assert (code, said.strip()) == (0, text), output
    engine.sweep()
    assert engine.traces()["images"] == {BASE_IMAGE}


def test_the_build_that_is_to_be_slow_is_slow(engine):
    dockerfile = f"FROM {BASE_IMAGE}\nWORKDIR /app\nCOPY . .\nRUN pip install --no-index -r requirements.txt\n"
    pool = ThreadPoolExecutor(1)
    building = pool.submit(engine.build, {**SLOW_BUILD, "Dockerfile": dockerfile}, "slow:1")
    until(lambda: any("build_wheel" in line for line in procs.tagged("pyproject_hooks").values())
          or any("prepare" in line or "build" in line for line in procs.tagged("_in_process").values()),
          "the project's own code runs", 60)
    assert not building.done()
    for container in engine.containers():
        engine.must("POST", f"/containers/{container['Id']}/kill")
    assert "errorDetail" in building.result(30)
    pool.shutdown()
    engine.sweep()


def test_the_sample_agent_answers_and_ends_on_sigterm():
    port = str(free_port())
    agent = subprocess.Popen(["/usr/bin/python3", ROOT / "examples" / "agent" / "main.py"], stdout=subprocess.DEVNULL,
                             env={"PORT": port})
    def fetch(path):
        try:
            return call(http.client.HTTPConnection("127.0.0.1", int(port), timeout=5), "GET", path)
        except ConnectionRefusedError:
            return None
    assert until(lambda: fetch("/health"), "the agent answers").json == {"status": "ok"}
    assert fetch("/").json["agent"] == "sample"
    agent.terminate()
    assert agent.wait(2) == 0
