"""POST /api/vms/{name}/copy, and the command line's copy, rename, resize and snapshot."""

import io
import json
import tarfile

import pytest
from support.engine import BASE_IMAGE
from support.fixtures import fresh_directory
from support.leaks import nothing_behind
from support.podman import Podman
from support.wait import until

VMS = "/api/vms"


@pytest.fixture
def null(make_null_daemon):
    return make_null_daemon()


def create(daemon, name="a", **fields):
    reply = daemon.post(VMS, {"name": name, "image": "any", **fields})
    assert reply.status == 201, reply
    return reply.json


def put(daemon, name, path, content):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(path)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    headers = {"Content-Type": "application/x-tar"}
    assert daemon.request("PUT", f"{VMS}/{name}/files?path=/", archive.getvalue(), headers).status == 200


def content(daemon, name, path):
    reply = daemon.get(f"{VMS}/{name}/files?path=/{path}")
    assert reply.status == 200, reply
    with tarfile.open(fileobj=io.BytesIO(reply.body)) as tar:
        return tar.extractfile(tar.getmembers()[0]).read()


def test_a_copy_has_spec_and_files_and_goes_its_own_way(null):
    create(null, environment={"K": "V"}, labels={"team": "red"}, cpus=3)
    put(null, "a", "data.txt", b"before")
    made = null.post(f"{VMS}/a/copy", {"new_name": "b"})
    assert made.status == 201
    assert (made.json["name"], made.json["status"], made.json["cpus"]) == ("b", "running", 3)
    assert made.json["labels"] == {"team": "red"}
    put(null, "a", "data.txt", b"after")
    assert content(null, "b", "data.txt") == b"before"
    assert null.post(f"{VMS}/b/exec", {"command": "env"}).json["stdout"] == "K=V\n"
    assert null.delete(f"{VMS}/a").status == 200
    assert content(null, "b", "data.txt") == b"before"


def test_a_copy_of_what_is_stopped_is_stopped(null):
    create(null)
    null.post(f"{VMS}/a/stop")
    assert null.post(f"{VMS}/a/copy", {"new_name": "b"}).json["status"] == "stopped"
    assert null.post(f"{VMS}/b/start").json["status"] == "running"


@pytest.mark.parametrize("step", ["copy", "copy_late"])
def test_a_copy_that_fails_leaves_its_diagnosis_alone(null, step):
    create(null, labels={"null.fail": step})
    failed = null.post(f"{VMS}/a/copy", {"new_name": "b"})
    assert failed.status == 502 and step in failed.json["error"]
    assert [vm["name"] for vm in null.get(VMS).json] == ["a"]
    assert null.get(f"{VMS}/a").json["status"] == "running"
    assert null.get(f"{VMS}/b/diagnosis").json["stage"] == "creating"


def test_refusals_repetition_and_waiting(null):
    create(null)
    assert null.post(f"{VMS}/x/copy", {"new_name": "b"}).status == 404
    assert null.post(f"{VMS}/a/copy", {"new_name": "a"}).json["code"] == "conflict"
    assert null.post(f"{VMS}/a/copy", {}).status == 400
    key = {"Idempotency-Key": "1"}
    first = null.post(f"{VMS}/a/copy", {"new_name": "b"}, headers=key)
    assert null.post(f"{VMS}/a/copy", {"new_name": "b"}, headers=key).json == first.json
    later = null.post(f"{VMS}/a/copy", {"new_name": "c"}, headers={"Prefer": "respond-async"})
    assert later.status == 202 and later.json["kind"] == "instance.copy"


def test_the_command_line(null):
    create(null)

    def cli(*arguments):
        done = null.cli(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert cli("copy", "a", "b") == "VM 'b' is running\n"
    assert cli("rename", "b", "c") == "VM 'b' is 'c' now\n"
    assert cli("resize", "c", "--cpus", "4", "--memory", "2048") == "VM 'c' has 4 CPUs, 2048 MiB of memory\n"
    assert null.cli("resize", "c").returncode == 2
    assert cli("snapshot", "create", "c", "clean") == "snapshot 'clean' of VM 'c' was taken\n"
    assert cli("snapshot", "create", "c", "small", "--disk-only") == "snapshot 'small' of VM 'c' was taken\n"
    rows = [line.split("  ")[0] for line in cli("snapshot", "list", "c").splitlines()]
    assert rows == ["NAME", "clean", "small"]
    assert [shot["memory"] for shot in json.loads(cli("--json", "snapshot", "list", "c"))] == [True, False]
    assert cli("snapshot", "restore", "c", "small") == "VM 'c' is stopped, as in snapshot 'small'\n"
    assert cli("snapshot", "delete", "c", "small") == "snapshot 'small' of VM 'c' was deleted\n"
    assert null.cli("copy", "nobody", "d").returncode == 1


# -- containers ------------------------------------------------------------------------------------------------------

WAITS = ["python", "-c", "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\ntime.sleep(3600)"]
SECRET = "canary-4Tq8zL1v"
DOCKERFILE = f"""FROM {BASE_IMAGE}
ENV OWN="of the \\$5 image" LAST=1
WORKDIR /work
RUN echo kept > kept && echo changed > changed && echo gone > gone && chown 1000:1000 kept
ENTRYPOINT ["python", "-c", "import sys, time; open('/work/argv', 'w').write(repr(sys.argv[1:])); time.sleep(3600)"]
CMD ["one", "two words"]
"""


@pytest.fixture(params=["docker", "podman"])
def host(request, make_daemon):
    """A daemon and its engine, of each kind."""
    if request.param == "docker":
        yield make_daemon(), request.getfixturevalue("engine")
        return
    podman = Podman(fresh_directory("podman"))
    try:
        podman.start().load_base_image()
        yield make_daemon({"runtimes.docker.socket": podman.socket}), podman
    finally:
        podman.stop()


@pytest.fixture
def docker(daemon, engine):
    return daemon, engine


def container(daemon, **fields):
    body = {"name": "a", "image": BASE_IMAGE, "runtime": "docker", "command": WAITS, **fields}
    replies = []

    def answered():  # Podman may be too busy, for a moment after a build, to be healthy
        replies.append(daemon.post(VMS, body))
        return replies[-1].status != 503

    until(answered, "the engine is healthy", 30)
    assert replies[-1].status == 201, f"{replies[-1]}\n{daemon.logs()}"


def copied(daemon, name="a", new_name="b"):
    reply = daemon.post(f"{VMS}/{name}/copy", {"new_name": new_name})
    assert reply.status == 201, f"{reply}\n{daemon.logs()}"
    return reply.json


def shell(daemon, name, script):
    reply = daemon.post(f"{VMS}/{name}/exec", {"command": "sh", "args": ["-c", script]})
    assert reply.status == 200 and reply.json["exit_code"] == 0, reply
    return reply.json["stdout"]


def inside(engine, name):
    """The container of the instance of that name, as the engine inspects it."""
    (found,) = engine.containers(f"minions.name={name}")
    return engine.inspect(found["Id"])


def image_of(engine, name):
    return engine.must("GET", f"/images/{inside(engine, name)['Image']}/json").json


def settled(daemon, name="a", status="running"):
    until(lambda: daemon.get(f"{VMS}/{name}").json.get("status") == status, f"{name} is {status}", 20)


def test_a_copy_of_a_container_has_its_files_and_its_configuration(host):
    daemon, engine = host
    engine.build({"Dockerfile": DOCKERFILE}, "with-entrypoint:1")
    container(daemon, image="with-entrypoint:1", command=[], environment={"TOKEN": SECRET, "LAST": "2"},
              labels={"team": "red"}, ports=[{"port": 80, "host_port": 18080}])
    shell(daemon, "a", "rm gone; echo anew > changed; echo more > more; rm argv")
    before = engine.traces()["images"]
    made = copied(daemon)
    assert (made["name"], made["status"], made["labels"]) == ("b", "running", {"team": "red"})
    assert daemon.get(f"{VMS}/a").json["status"] == "running" and inside(engine, "a")["State"]["Status"] == "running"
    until(lambda: "argv" in shell(daemon, "b", "ls"), "the copy's process has begun")
    assert shell(daemon, "b", "ls; cat argv kept changed more; stat -c %u kept").split("\n") == [
        "argv", "changed", "kept", "more", "['one', 'two words']kept", "anew", "more", "1000", ""]
    assert shell(daemon, "b", 'echo "$TOKEN $OWN $LAST $PWD"') == f"{SECRET} of the $5 image 2 /work\n"
    assert shell(daemon, "b", "hostname") != shell(daemon, "a", "hostname")
    assert SECRET not in json.dumps(image_of(engine, "b"))
    history = engine.must("GET", f"/images/{inside(engine, 'b')['Image']}/history").text
    assert SECRET not in history

    assert daemon.delete(f"{VMS}/a").status == 200
    shell(daemon, "b", "echo of the copy > changed")
    copied(daemon, "b", "c")
    assert daemon.delete(f"{VMS}/b").status == 200
    assert shell(daemon, "c", "cat changed kept") == "of the copy\nkept\n"
    assert daemon.delete(f"{VMS}/c").status == 200
    assert engine.traces()["images"] == before


def test_a_copy_of_a_stopped_or_paused_container(docker):
    daemon, engine = docker
    container(daemon)
    shell(daemon, "a", "echo x > /data")
    assert daemon.post(f"{VMS}/a/pause").status == 200
    copied(daemon, "a", "b")
    assert inside(engine, "a")["State"]["Status"] == "paused"
    assert daemon.post(f"{VMS}/a/resume").status == 200
    assert daemon.post(f"{VMS}/a/stop").status == 200
    assert copied(daemon, "a", "c")["status"] == "stopped"
    assert daemon.post(f"{VMS}/c/start").json["status"] == "running"
    assert [shell(daemon, name, "cat /data") for name in ("b", "c")] == ["x\n", "x\n"]


STEPS = ["copy.pause.before", "copy.pause.after", "copy.import.after", "copy.name.after",
         "instance.create.after"]


@pytest.mark.parametrize("step", STEPS)
def test_a_copy_of_a_container_that_fails_leaves_nothing(docker, step, monkeypatch):
    fails(*docker, step, monkeypatch)


def test_a_copy_that_fails_leaves_nothing_in_either_engine(host, monkeypatch):
    fails(*host, "copy.import.after", monkeypatch)


def fails(daemon, engine, step, monkeypatch):
    container(daemon)
    daemon.stop()
    monkeypatch.setenv("MINIONS_FAILPOINTS", f"{step}=fail@1")
    daemon.start()
    settled(daemon)
    with nothing_behind(engine, daemon):
        assert daemon.post(f"{VMS}/a/copy", {"new_name": "b"}).status >= 500
        assert daemon.get(f"{VMS}/b").status == 404
        assert inside(engine, "a")["State"]["Status"] == "running"
    settled(daemon)
    copied(daemon)


@pytest.mark.parametrize("step", STEPS)
def test_a_daemon_that_dies_in_a_copy_leaves_nothing_and_lets_the_source_run(docker, step, monkeypatch):
    daemon, engine = docker
    container(daemon)
    daemon.stop()
    monkeypatch.setenv("MINIONS_FAILPOINTS", f"{step}=abort@1")
    daemon.start()
    settled(daemon)
    with nothing_behind(engine, daemon, 20):
        with pytest.raises(OSError):
            daemon.post(f"{VMS}/a/copy", {"new_name": "b"})
        daemon.kill()
        monkeypatch.delenv("MINIONS_FAILPOINTS")
        daemon.start()
        settled(daemon)
        until(lambda: daemon.get(f"{VMS}/b").status == 404, "the copy is undone", 20)
    assert inside(engine, "a")["State"]["Status"] == "running"
