"""POST /api/vms/{name}/copy, and the command line's copy, rename, resize and snapshot."""

import io
import json
import tarfile

import pytest

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
