"""/api/vms with containers: what a client of the older program, and one of today, can do with an instance."""

import base64
import http.client
import json
import re
import time

import pytest
from support.leaks import nothing_held
from support.wait import until

IMAGE = "python:3.11-slim"
VMS = "/api/vms"
WAITS = ["python", "-c", "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\n"
                         "print('first line', flush=True)\nprint('second line', flush=True)\ntime.sleep(3600)"]


def create(daemon, name="a", **fields):
    reply = daemon.post(VMS, {"name": name, "image": IMAGE, "runtime": "docker", "command": WAITS, **fields})
    assert reply.status == 201, f"{reply}\n{daemon.logs()}"
    return reply.json


def execute(daemon, command, *arguments, name="a", **fields):
    reply = daemon.post(f"{VMS}/{name}/exec", {"command": command, "args": list(arguments), **fields})
    assert reply.status == 200, reply
    return reply.json


def refused(reply, status, *words, code=None):
    assert reply.status == status, reply
    assert isinstance(reply.json["error"], str) and isinstance(reply.json["code"], str)
    assert code is None or reply.json["code"] == code, reply
    for word in words:
        assert word in reply.text, f"'{word}' is not in {reply}"


@pytest.fixture
def vm(daemon):
    return create(daemon)


# -- create, list, get, delete ---------------------------------------------------------------------------------------


def test_create_answers_with_the_documented_object(daemon, engine):
    made = create(daemon, "myvm", cpus=1, memory_mb=128, environment={"GREETING": "hi"}, labels={"team": "red"})
    assert set(made) >= {"name", "status", "ip", "vsock_cid", "cpus", "memory_mb", "pid", "created_at"}
    assert (made["name"], made["status"], made["vsock_cid"]) == ("myvm", "running", None)
    assert (made["cpus"], made["memory_mb"]) == (1, 128)
    assert made["pid"] > 0 and re.fullmatch(r"\d+\.\d+\.\d+\.\d+", made["ip"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", made["created_at"])
    (container,) = engine.containers()
    inside = engine.inspect(container["Id"])
    assert inside["HostConfig"]["Memory"] == 128 << 20 and inside["State"]["Pid"] == made["pid"]
    assert execute(daemon, "printenv", "GREETING", name="myvm")["stdout"] == "hi\n"
    assert daemon.get(f"{VMS}/myvm").json["name"] == "myvm"


def test_an_instance_goes_through_its_life(daemon, engine, vm):
    assert daemon.post(f"{VMS}/a/stop", {}).status == 200
    assert daemon.get(f"{VMS}/a").json["status"] == "stopped" and daemon.get(f"{VMS}/a").json["pid"] is None
    refused(daemon.post(f"{VMS}/a/exec", {"command": "true"}), 409, code="wrong_state")
    assert daemon.post(f"{VMS}/a/start").status == 200
    again = daemon.get(f"{VMS}/a").json
    assert again["status"] == "running" and again["pid"] and again["created_at"] == vm["created_at"]
    reply = daemon.delete(f"{VMS}/a")
    assert reply.status == 200 and reply.json == {"message": "VM 'a' destroyed"}
    assert engine.containers() == [] and daemon.get(VMS).json == []


def test_a_forced_stop_does_not_wait(daemon):
    create(daemon, command=["sleep", "3600"])  # as process 1 it ignores SIGTERM
    before = time.monotonic()
    assert daemon.post(f"{VMS}/a/stop", {"force": True, "timeout_seconds": 30}).status == 200
    assert time.monotonic() - before < 10
    assert daemon.get(f"{VMS}/a").json["status"] == "stopped"


def test_what_does_not_exist_is_404_everywhere(daemon):
    for method, path, body in (("GET", "x", None), ("DELETE", "x", None), ("GET", "x/logs", None),
                               ("POST", "x/exec", {"command": "true"}), ("POST", "x/stop", {}),
                               ("POST", "x/start", None)):
        refused(daemon.request(method, f"{VMS}/{path}", body), 404, "VM 'x' not found")


def test_a_name_is_taken_once(daemon, vm, engine):
    refused(daemon.post(VMS, {"name": "a", "image": IMAGE, "runtime": "docker"}), 409, "'a'", code="conflict")
    assert len(engine.containers()) == 1


def test_an_unknown_image_leaves_nothing(daemon, engine):
    # Not here, and no registry is in reach: whether there is such an image, nobody can say.
    refused(daemon.post(VMS, {"name": "a", "image": "no-such-image:1", "runtime": "docker"}), 503, "no-such-image:1")
    refused(daemon.get(f"{VMS}/a"), 404)
    assert engine.containers() == []


def test_an_unknown_image_that_may_not_be_pulled_is_404(make_daemon, engine):
    daemon = make_daemon({"runtimes.docker.pull": "false"})
    refused(daemon.post(VMS, {"name": "a", "image": "no-such-image:1", "runtime": "docker"}), 404, "no-such-image:1")
    assert engine.containers() == []


@pytest.mark.parametrize("fields, words", [
    ({"memroy_mb": 1}, ("memroy_mb", "memory_mb")),
    ({"cpu": 2}, ("cpu", "cpus")),
    ({"cpus": 0}, ("cpus",)),
    ({"cpus": "2"}, ("cpus",)),
    ({"memory_mb": 1.5}, ("memory_mb",)),
    ({"command": "sh"}, ("command",)),
    ({"name": "A"}, ("name",)),
    ({"name": "-a"}, ("name",)),
    ({"name": "a" * 64}, ("name",)),
    ({"name": ""}, ("name",)),
    ({"runtime": "absent"}, ("absent",)),
], ids=str)
def test_an_invalid_create_is_400_and_names_the_field(daemon, engine, fields, words):
    refused(daemon.post(VMS, {"name": "a", "image": IMAGE, "runtime": "docker", **fields}), 400, *words)
    assert engine.containers() == []


def test_the_list_is_an_array_by_age_that_pages_and_filters(daemon):
    names = ["delta", "alpha", "charlie", "bravo", "echo"]
    for name in names:
        create(daemon, name, labels={"kind": "vowel" if name[0] in "ae" else "consonant"})
    daemon.post(f"{VMS}/bravo/stop", {"force": True})
    assert [vm["name"] for vm in daemon.get(VMS).json] == names

    pages, target = [], f"{VMS}?limit=2"
    while target:
        reply = daemon.get(target)
        pages.append([vm["name"] for vm in reply.json])
        link = re.search(r'<([^>]+)>;\s*rel="next"', reply.headers.get("Link", ""))
        target = link and link.group(1)
    assert pages == [["delta", "alpha"], ["charlie", "bravo"], ["echo"]]

    def filtered(query):
        return [vm["name"] for vm in daemon.get(f"{VMS}?{query}").json]
    assert filtered("label=kind=vowel") == ["alpha", "echo"]
    assert filtered("label=kind%3Dvowel") == ["alpha", "echo"]
    assert filtered("status=stopped") == ["bravo"]
    assert filtered("runtime=docker") == names and filtered("runtime=null") == []
    refused(daemon.get(f"{VMS}?limit=0"), 400, "limit")
    refused(daemon.get(f"{VMS}?limit=2&cursor=nonsense"), 400, "cursor")


def test_a_repeated_create_is_the_first_one(daemon, engine):
    key = {"Idempotency-Key": "e3b5b2f0"}
    body = {"name": "a", "image": IMAGE, "runtime": "docker", "command": WAITS}
    first, again = (daemon.post(VMS, body, headers=key) for _ in range(2))
    assert (first.status, again.status) == (201, 201) and first.json == again.json
    assert len(engine.containers()) == 1
    refused(daemon.post(VMS, {**body, "name": "b"}, headers=key), 409, code="idempotency_mismatch")


def test_the_unix_socket_serves_the_same(daemon, vm):
    assert daemon.get(f"{VMS}/a", unix=True).json["pid"] == vm["pid"]


def test_a_container_that_dies_is_seen_at_once(daemon, engine, vm):
    engine.must("POST", f"/containers/{engine.containers()[0]['Id']}/kill")
    until(lambda: daemon.get(f"{VMS}/a").json["status"] == "stopped", "its status is stopped", 5)


def test_containers_outlive_the_daemon(daemon, engine, vm):
    # The engine's list, which recovery goes by, has no pids: they follow, container by container.
    def is_the_same():
        found = daemon.get(f"{VMS}/a").json
        assert found["handle"] == vm["handle"] and found["pid"] in (None, vm["pid"])
        return found["status"] == "running" and found["pid"]

    daemon.kill()
    daemon.start()
    until(is_the_same, "the same container is known again")
    assert execute(daemon, "echo", "hi")["stdout"] == "hi\n"
    daemon.restart()
    until(is_the_same, "the same container is known again")


# -- exec ------------------------------------------------------------------------------------------------------------


def test_exec_tells_exit_code_and_streams_apart(daemon, vm):
    ran = execute(daemon, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (ran["exit_code"], ran["stdout"], ran["stderr"]) == (7, "out\n", "err\n")


def test_exec_takes_arguments_as_they_are(daemon, vm):
    assert execute(daemon, "printf", "%s|", "a b", "$HOME", "`id`", "", "'")["stdout"] == "a b|$HOME|`id`||'|"


def test_exec_has_env_cwd_user_and_stdin(daemon, vm):
    ran = execute(daemon, "sh", "-c", "cat; echo $WHO; pwd; id -u", env={"WHO": "me"}, cwd="/tmp", user="nobody",
                  stdin="from outside\n")
    assert ran["stdout"] == "from outside\nme\n/tmp\n65534\n"


def test_a_command_that_does_not_exist_is_127(daemon, vm):
    ran = execute(daemon, "no-such-command")
    assert ran["exit_code"] == 127 and "no-such-command" in ran["stderr"]


def test_output_that_is_not_text_is_told_apart(daemon, vm):
    ran = execute(daemon, "sh", "-c", r"printf '\377\376'; echo plain >&2")
    assert ran["stdout_encoding"] == "base64" and base64.b64decode(ran["stdout"]) == b"\xff\xfe"
    assert ran["stderr"] == "plain\n" and ran.get("stderr_encoding") in (None, "utf-8")


def test_output_past_the_limit_is_cut_and_says_so(daemon, vm):
    ran = execute(daemon, "sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x")
    assert ran["exit_code"] == 0 and ran["truncated"] and len(ran["stdout"]) == 16 << 20


def test_exec_past_its_deadline_is_504_with_what_came(daemon, vm):
    before = time.monotonic()
    reply = daemon.post(f"{VMS}/a/exec", {"command": "sh", "args": ["-c", "echo before; echo early >&2; sleep 600"],
                                          "timeout_seconds": 2})
    assert time.monotonic() - before < 15
    refused(reply, 504, code="deadline")
    assert (reply.json["exit_code"], reply.json["stdout"], reply.json["stderr"]) == (None, "before\n", "early\n")
    assert daemon.get(f"{VMS}/a").json["status"] == "running"


def test_an_exec_past_its_deadline_holds_nothing(daemon, vm):
    def expire():
        refused(daemon.post(f"{VMS}/a/exec", {"command": "sleep", "args": ["600"], "timeout_seconds": 1}), 504)

    nothing_held(daemon, expire, 8)
    assert "sleep" not in execute(daemon, "sh", "-c", "cat /proc/[0-9]*/comm")["stdout"].split()


def test_a_command_that_closed_its_output_still_has_its_deadline(daemon, vm):
    reply = daemon.post(f"{VMS}/a/exec", {"command": "sh", "args": ["-c", "exec >&- 2>&-; sleep 600"],
                                          "timeout_seconds": 2})
    refused(reply, 504, code="deadline")
    assert "sleep" not in execute(daemon, "sh", "-c", "cat /proc/[0-9]*/comm")["stdout"].split()


@pytest.mark.parametrize("body, word", [({}, "command"), ({"command": "a", "args": "b"}, "args"),
                                        ({"command": "a", "arg": []}, "args"), ({"command": ""}, "command"),
                                        ({"command": "a", "timeout_seconds": -1}, "timeout_seconds"),
                                        ({"command": "a\0b"}, "command")], ids=str)
def test_an_invalid_exec_is_400(daemon, vm, body, word):
    refused(daemon.post(f"{VMS}/a/exec", body), 400, word)


# -- logs ------------------------------------------------------------------------------------------------------------


def logs(daemon, query=""):
    reply = daemon.get(f"{VMS}/a/logs{query}")
    assert reply.status == 200 and reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    return reply.text


def test_logs_whole_and_by_tail(daemon, vm):
    until(lambda: "second" in logs(daemon), "both lines are there")
    assert logs(daemon) == "first line\nsecond line\n"
    assert logs(daemon, "?tail=1") == "second line\n"
    refused(daemon.get(f"{VMS}/a/logs?tail=-1"), 400, "tail")


def test_logs_follow_until_the_end(daemon, vm):
    host, port = daemon.address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", f"{VMS}/a/logs?follow=1")
    stream = connection.getresponse()
    assert stream.readline() == b"first line\n" and stream.readline() == b"second line\n"
    execute(daemon, "sh", "-c", "echo third line > /proc/1/fd/1")
    assert stream.readline() == b"third line\n"
    daemon.post(f"{VMS}/a/stop", {"force": True})
    assert stream.read() == b""
    connection.close()


def test_a_follower_that_leaves_holds_nothing(daemon, vm):
    def follow_and_leave():
        host, port = daemon.address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", f"{VMS}/a/logs?follow=1")
        response = connection.getresponse()
        response.readline()
        response.close()
        connection.close()

    nothing_held(daemon, follow_and_leave, 40)
    assert "second" in logs(daemon)


# -- the CLI ---------------------------------------------------------------------------------------------------------


def test_the_cli_says_that_there_is_nothing(daemon):
    done = daemon.cli("list")
    assert done.returncode == 0 and done.stdout.strip() == "No VMs found."


def test_the_cli_lists_gets_executes_and_destroys(daemon, vm):
    lines = daemon.cli("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATUS", "IP", "CPUS", "MEMORY", "PID"]
    assert lines[1].split()[:2] == ["a", "running"]
    assert "running" in daemon.cli("get", "a").stdout
    done = daemon.cli("exec", "a", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert "first line" in daemon.cli("logs", "a").stdout
    assert daemon.cli("destroy", "a").returncode == 0
    assert daemon.get(VMS).json == []
    gone = daemon.cli("get", "a")
    assert gone.returncode != 0 and "VM 'a' not found" in gone.stderr


def test_the_cli_has_json(daemon, vm):
    assert [entry["name"] for entry in json.loads(daemon.cli("--json", "list").stdout)] == ["a"]
