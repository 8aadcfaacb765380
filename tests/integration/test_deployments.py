"""How deployments end that do not go through: what their clients are told, that nothing stays, and what can be read
meanwhile. And what they share: names, places in the queue, layers of images."""

import http.client
import os
import subprocess
import time

import pytest
from support.deploys import V1, deploy, deployed, finished
from support.leaks import nothing_behind
from support.samples import AGENT, SLOW_BUILD, with_requirements
from support.wait import until

BACKGROUND = {"Prefer": "respond-async"}
DEAF = ["python", "-c", "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(600)"]


def begun(daemon, url, **fields):
    """A deploy in the background: its operation, whose subject is the deployment's id."""
    reply = deploy(daemon, url, headers=BACKGROUND, **fields)
    assert reply.status == 202, reply
    return reply.json


def reaches(daemon, operation, stage):
    until(lambda: daemon.get(f"/api/operations/{operation['id']}").json["stage"] == stage, f"it is {stage}", 60)


def cancel(daemon, operation):
    assert daemon.post(f"/api/operations/{operation['id']}/cancel").status == 202
    return finished(daemon, operation["id"])


# -- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["queued", "cloning", "building"])
def test_a_cancelled_deployment_leaves_nothing(make_daemon, engine, git_http, stage):
    daemon = make_daemon({"deployments.max_concurrent_builds": 1})
    url = git_http.repo("agent", SLOW_BUILD)
    with nothing_behind(engine, daemon):
        if stage != "building":
            git_http.hold()
        first = begun(daemon, url)
        second = begun(daemon, url) if stage == "queued" else first
        reaches(daemon, first, "building" if stage == "building" else "cloning")
        if stage == "building":
            until(lambda: any("pip" in c["Command"] for c in engine.containers()), "the long step runs", 60)
        ended = cancel(daemon, second)
        assert ended["status"] == "cancelled" and ended["stage"] == stage, ended
        deployment = daemon.get(f"{V1}/deployments/{second['subject']}").json
        assert (deployment["status"], deployment["stage"]) == ("cancelled", stage)
        assert stage in daemon.get(f"{V1}/deployments/{second['subject']}/log").text
        if first != second:
            cancel(daemon, first)
    assert daemon.get(f"{V1}/list?all=1").json == []


def test_a_deployment_whose_turn_does_not_come_is_504(make_daemon, engine, git_http):
    daemon = make_daemon({"deployments.max_concurrent_builds": 1, "deployments.queue_timeout_seconds": 1})
    url = git_http.repo("agent", AGENT)
    with nothing_behind(engine, daemon):
        git_http.hold()
        first = begun(daemon, url)
        reaches(daemon, first, "cloning")
        reply = deploy(daemon, url)
        assert reply.status == 504 and isinstance(reply.json["detail"], str) and reply.json["stage"] == "queued", reply
        cancel(daemon, first)


def test_a_build_past_its_time_is_502_and_leaves_nothing(make_daemon, engine, git_http):
    daemon = make_daemon({"deployments.build_timeout_seconds": 15})
    with nothing_behind(engine, daemon, seconds=20):
        reply = deploy(daemon, git_http.repo("slow", SLOW_BUILD))
        assert reply.status == 502 and reply.json["stage"] == "building" and "15 s" in reply.json["message"], reply


def test_a_full_disk_is_507_and_leaves_nothing(daemon, engine, git_http):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", daemon.work], check=True)
    try:
        with nothing_behind(engine, daemon):
            reply = deploy(daemon, git_http.repo("big", {**AGENT, "big": os.urandom(4 << 20)}))
            assert reply.status == 507 and str(daemon.work) in reply.json["detail"], reply
    finally:
        subprocess.run(["umount", daemon.work], check=True)


def test_an_image_beyond_its_limit_is_502_and_leaves_nothing(make_daemon, engine, git_http):
    base = engine.must("GET", "/images/python:3.11-slim/json").json["Size"]
    daemon = make_daemon({"deployments.max_image_bytes": base + (8 << 20)})
    writes = "FROM python:3.11-slim\nRUN head -c 16000000 /dev/zero >/filler\nRUN sleep 600\n"
    with nothing_behind(engine, daemon, seconds=20):
        reply = deploy(daemon, git_http.repo("big", {"Dockerfile": writes}), dockerfile="repository")
        assert reply.status == 502 and reply.json["cause"] == "too_large", reply
        assert "deployments.max_image_bytes" in reply.text
    assert deployed(daemon, git_http.repo("agent", AGENT))["status"] == "running"


def test_a_stop_meets_another(daemon, git_http):
    name = deployed(daemon, git_http.repo("agent", AGENT), startup_cmd=DEAF)["container_name"]
    # The container hears no polite word, so this takes its ten seconds.
    first = daemon.post(f"{V1}/stop", {"container_name": name}, headers=BACKGROUND)
    assert first.status == 202, first
    busy = daemon.post(f"/api/vms/{name}/pause")
    assert busy.status == 409 and busy.json["code"] == "busy", busy
    busy = daemon.post(f"{V1}/stop", {"container_name": name, "remove": False})
    assert busy.status == 409 and first.json["id"] in busy.text and isinstance(busy.json["detail"], str), busy
    assert finished(daemon, first.json["id"])["status"] == "succeeded"


# -- meanwhile -------------------------------------------------------------------------------------------------------


def test_a_growing_log_can_be_followed_from_the_first_moment(daemon, git_http):
    operation = begun(daemon, git_http.repo("slow", SLOW_BUILD))
    host, port = daemon.address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        connection.request("GET", f"{V1}/deployments/{operation['subject']}/log?follow=1")
        log = connection.getresponse()
        assert log.status == 200
        lines = []
        while not any(line.startswith("Step ") and "pip" in line for line in lines):
            line = log.readline().decode()
            assert line, f"the log ended: {lines}"
            lines.append(line)
        assert lines[0].startswith("cloning branch main")
        assert daemon.get(f"/api/operations/{operation['id']}").json["status"] == "running"
        cancel(daemon, operation)
        assert "failed while building" in log.read().decode()  # and then it ends
    finally:
        connection.close()


# -- shared ----------------------------------------------------------------------------------------------------------


def test_a_name_that_a_stranger_has_moves_to_the_next_free_second(daemon, engine, git_http):
    url = git_http.repo("agent", AGENT)
    deployed(daemon, url, "other")  # so that what the engine caches is there
    now = int(time.time())
    taken = [f"jules-agent-agent-{second}" for second in range(now, now + 60)]
    for name in taken:
        engine.must("POST", f"/containers/create?name={name}", {"Image": "python:3.11-slim", "Cmd": ["true"]})
    made = deployed(daemon, url)
    assert made["container_name"] == f"jules-agent-agent-{now + 60}"
    assert set(taken) <= {name.lstrip("/") for c in engine.containers() for name in c["Names"]}
    with_image = engine.inspect(made["container_name"])["Image"]
    assert daemon.post(f"{V1}/stop", {"container_name": made["container_name"]}).status == 200
    assert engine.api("GET", f"/images/{with_image}/json").status == 404  # it went with its container


def test_a_commit_of_sources_finds_its_dependencies_in_the_cache(daemon, git_http):
    url = git_http.repo("agent", with_requirements())
    deployed(daemon, url)
    git_http.repo("agent", {"notes.txt": "another commit\n"})
    deployed(daemon, url)
    newest = daemon.get(f"{V1}/deployments?limit=1").json[0]
    log = daemon.get(f"{V1}/deployments/{newest['deployment_id']}/log").text
    steps = {step.split(" : ", 1)[1].split("\n")[0]: "Using cache" in step
             for step in log.split("Step ")[1:] if " : " in step}
    install = next(step for step in steps if "requirements.txt" in step and step.startswith("RUN"))
    sources = next(step for step in steps if step.startswith("COPY") and '[".' in step.replace(" ", ""))
    assert steps[install] and not steps[sources], steps
