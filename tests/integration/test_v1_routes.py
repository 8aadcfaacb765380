"""The four routes of /api/v1/vm: every status code and the exact shapes that its clients rely on."""

import re

import pytest
from support.deploys import V1, answering, deploy, deployed, finished
from support.fixtures import fresh_directory
from support.gitserver import make_repo
from support.leaks import nothing_behind
from support.samples import AGENT, ENDS, FAILS, NEVER_BUILDS, with_project, with_requirements
from support.wait import until

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


def refused(reply, status, *words):
    """The reply is this error, with a sentence in `detail` that has each of `words`."""
    assert reply.status == status, reply
    assert isinstance(reply.json["detail"], str) and reply.json["detail"]
    for word in words:
        assert word in reply.text, f"'{word}' is not in {reply}"


@pytest.fixture
def agent(daemon, git_http):
    """A deployed sample agent: the deploy reply."""
    return deployed(daemon, git_http.repo("agent", AGENT), "my-agent")


# -- deploy ----------------------------------------------------------------------------------------------------------


def test_deploy_answers_as_documented(daemon, engine, agent):
    assert set(agent) >= {"container_id", "container_name", "status", "ports"}
    assert agent["status"] == "running"
    assert re.fullmatch(r"jules-agent-my-agent-\d{10}", agent["container_name"])
    assert list(agent["ports"]) == ["8080/tcp"] and 1 <= agent["ports"]["8080/tcp"] <= 65535
    in_engine = engine.inspect(agent["container_name"])
    assert in_engine["Id"].startswith(agent["container_id"])
    assert in_engine["Config"]["Healthcheck"]["Test"][0] in ("CMD", "CMD-SHELL")
    # Published on loopback unless asked otherwise.
    assert in_engine["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostIp"] == "127.0.0.1"


def test_a_deployed_agent_becomes_healthy(daemon, agent):
    def healthy():
        reply = daemon.get(f"{V1}/health/{agent['container_name']}")
        return reply if reply.json["health_status"] == "healthy" else None
    answering(daemon, agent["container_name"])
    reply = until(healthy, "the engine calls the agent healthy", 90, pause=0.5)
    assert reply.json == {"container_status": "running", "health_status": "healthy",
                          "http_probe": {"status_code": 200, "response": {"status": "ok"}}}


def test_the_documented_example_ends_at_once_and_says_so(daemon, git_http):
    made = deployed(daemon, git_http.repo("any", AGENT), "black-demo", startup_cmd=["python", "-c", 'print("ok")'])
    assert made["status"] == "exited" and made["ports"] == {}


def test_the_default_command_is_main_py(daemon, git_http):
    assert deployed(daemon, git_http.repo("ends", ENDS))["status"] == "exited"


def test_branch_port_command_and_environment_are_honoured(daemon, git_http):
    git_http.repo("agent", ENDS)
    url = git_http.repo("agent", {"serve.py": AGENT["main.py"]}, branch="feature/x")
    made = deployed(daemon, url, branch="feature/x", expose_port=9000, startup_cmd=["python", "serve.py"],
                    environment={"PORT": "9000", "AGENT_NAME": "from the request"})
    assert list(made["ports"]) == ["9000/tcp"]
    assert answering(daemon, made["container_name"], "/")["http_probe"]["response"]["agent"] == "from the request"


def test_requirements_of_the_repository_are_installed(daemon, git_http):
    made = deployed(daemon, git_http.repo("agent", with_requirements()))
    assert answering(daemon, made["container_name"])["http_probe"]["response"] == "hello from a wheel"


def test_a_project_file_is_installed(daemon, git_http):
    made = deployed(daemon, git_http.repo("agent", with_project()))
    assert answering(daemon, made["container_name"])["http_probe"]["response"] == "hello from a project"


def test_the_same_agent_name_again_is_a_further_container(daemon, git_http):
    url = git_http.repo("agent", AGENT)
    first, second = deployed(daemon, url), deployed(daemon, url)
    assert first["container_name"] != second["container_name"]
    assert {c["container_name"] for c in daemon.get(f"{V1}/list").json} \
        == {first["container_name"], second["container_name"]}


def test_the_repositorys_dockerfile_counts_only_when_asked_for(daemon, git_http):
    url = git_http.repo("agent", {**AGENT, "Dockerfile": 'FROM python:3.11-slim\nENV FROM_REPOSITORY=yes\n'
                                                         'COPY . /srv\nWORKDIR /srv\n'})
    for fields, expected in ({}, ""), ({"dockerfile": "repository"}, "yes"):
        made = deployed(daemon, url, **fields)
        ran = daemon.post(f"/api/vms/{made['container_name']}/exec",
                          {"command": "printenv", "args": ["FROM_REPOSITORY"]}).json
        assert ran["stdout"].strip() == expected


def test_a_private_repository_by_token(daemon, engine, private_git):
    url = private_git.repo("agent", AGENT)
    assert deployed(daemon, url, auth_token=private_git.token)["status"] == "running"
    with nothing_behind(engine, daemon):
        for token in ({}, {"auth_token": "wrong"}):
            reply = deploy(daemon, url, **token)
            assert reply.status == 502 and reply.json["detail"] == "deployment_failed"


def test_a_private_repository_by_ssh_key(make_daemon, engine, git_ssh):
    keys = fresh_directory("keys")
    known = keys.with_name(keys.name + ".known")
    known.write_text(git_ssh.known_hosts)
    key = keys / "deploy"
    key.write_bytes(git_ssh.key.read_bytes())
    key.chmod(0o600)
    daemon = make_daemon({"deployments.key_dir": keys, "deployments.known_hosts": known})
    url = git_ssh.url(make_repo(fresh_directory("repo") / "agent.git", AGENT))
    assert deployed(daemon, url, ssh_key_path=str(key))["status"] == "running"
    with nothing_behind(engine, daemon):
        known.write_text("")  # a host that nobody vouches for
        reply = deploy(daemon, url, ssh_key_path=str(key))
        assert reply.status == 502 and reply.json["detail"] == "deployment_failed"


def test_a_failed_clone_is_502_and_leaves_nothing(daemon, engine, git_http):
    with nothing_behind(engine, daemon):
        for url, branch in ((f"{git_http.url}/absent.git", "main"), (git_http.repo("agent", AGENT), "absent")):
            reply = deploy(daemon, url, branch=branch)
            assert reply.status == 502 and reply.json["detail"] == "deployment_failed"
            assert reply.json["stage"] and reply.json["message"] and reply.json["deployment_id"]


def test_a_failed_build_is_502_leaves_nothing_and_its_log_stays(daemon, engine, git_http):
    with nothing_behind(engine, daemon):
        reply = deploy(daemon, git_http.repo("agent", NEVER_BUILDS))
    assert reply.status == 502 and reply.json["detail"] == "deployment_failed" and reply.json["stage"]
    log = daemon.get(f"{V1}/deployments/{reply.json['deployment_id']}/log")
    assert log.status == 200 and log.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "no-such-wheel" in log.text
    followed = daemon.get(f"{V1}/deployments/{reply.json['deployment_id']}/log?follow=1")  # ends: the build has
    assert "no-such-wheel" in followed.text


def test_an_agent_that_fails_at_once_is_502_with_its_last_words(daemon, engine, git_http):
    with nothing_behind(engine, daemon):
        reply = deploy(daemon, git_http.repo("agent", FAILS))
    assert reply.status == 502 and reply.json["detail"] == "deployment_failed"
    assert "about to fail" in reply.text and "no luck today" in reply.text
    assert daemon.get(f"{V1}/list?all=1").json == []


def test_a_deployment_in_the_background(daemon, git_http):
    reply = deploy(daemon, git_http.repo("agent", AGENT), headers={"Prefer": "respond-async"})
    assert reply.status == 202
    assert reply.headers["Location"] == f"/api/operations/{reply.json['id']}"
    assert set(reply.json) >= {"id", "kind", "subject", "status", "stage", "created_at", "finished_at", "error",
                               "result"}
    ended = finished(daemon, reply.json["id"])
    assert ended["status"] == "succeeded" and ended["error"] is None
    assert ended["result"]["container_name"] in daemon.get(f"{V1}/list").text


@pytest.mark.parametrize("body, word", [
    ({"agent_name": "a"}, "repo_url"),
    ({"repo_url": "https://example.invalid/x"}, "agent_name"),
    ({"repo_url": 7, "agent_name": "a"}, "repo_url"),
    ({"repo_url": "https://example.invalid/x", "agent_name": "a", "startup_cmd": "python main.py"}, "startup_cmd"),
    ({"repo_url": "https://example.invalid/x", "agent_name": "a", "environment": ["A=b"]}, "environment"),
    ({"repo_url": "https://example.invalid/x", "agent_name": "a", "expose_port": "8080"}, "expose_port"),
    ({"repo_url": "https://example.invalid/x", "agent_name": "a", "brnach": "main"}, "branch"),  # the nearest field
], ids=lambda value: value if isinstance(value, str) else "")
def test_an_invalid_deploy_request_is_400_and_names_the_field(daemon, body, word):
    refused(daemon.post(f"{V1}/deploy", body), 400, word)


def test_bodies_that_are_not_json(daemon):
    json_type = {"Content-Type": "application/json"}
    refused(daemon.post(f"{V1}/deploy", b"{nonsense", headers=json_type), 400)
    refused(daemon.post(f"{V1}/deploy", b'{"agent_name":"a","agent_name":"b"}', headers=json_type), 400, "agent_name")
    refused(daemon.post(f"{V1}/deploy", b"[]", headers=json_type), 400)
    refused(daemon.post(f"{V1}/deploy", b"repo_url=x", headers={"Content-Type": "text/plain"}), 415)
    refused(daemon.post(f"{V1}/deploy", headers={**json_type, "Content-Length": str(1 << 36)}), 413)


@pytest.mark.parametrize("method, path", [("GET", "deploy"), ("POST", "list"), ("DELETE", "stop"),
                                          ("POST", "health/a")])
def test_another_method_is_405(daemon, method, path):
    reply = daemon.request(method, f"{V1}/{path}")
    refused(reply, 405)
    assert reply.headers["Allow"]


# -- list ------------------------------------------------------------------------------------------------------------


def test_list_is_empty_at_first(daemon):
    reply = daemon.get(f"{V1}/list")
    assert reply.status == 200 and reply.json == []


def test_list_answers_as_documented(daemon, agent):
    (entry,) = daemon.get(f"{V1}/list").json
    assert set(entry) >= {"container_id", "container_name", "status", "created", "ports"}
    assert re.fullmatch(TIME, entry["created"])
    for field in ("container_id", "container_name", "status", "ports"):
        assert entry[field] == agent[field]


def test_list_has_only_ours_whatever_the_name(daemon, engine, agent):
    foreign = engine.must("POST", "/containers/create?name=jules-agent-foreign-1234567890",
                          {"Image": "python:3.11-slim", "Cmd": ["sleep", "60"]}).json["Id"]
    engine.must("POST", f"/containers/{foreign}/start")
    assert [c["container_name"] for c in daemon.get(f"{V1}/list?all=1").json] == [agent["container_name"]]
    # Nor can it be stopped or asked for, and it goes on.
    refused(daemon.post(f"{V1}/stop", {"container_name": "jules-agent-foreign-1234567890"}), 404)
    refused(daemon.get(f"{V1}/health/jules-agent-foreign-1234567890"), 404)
    assert engine.inspect(foreign)["State"]["Running"]


def test_a_container_that_dies_is_seen_at_once(daemon, engine, agent):
    engine.must("POST", f"/containers/{agent['container_name']}/kill")
    until(lambda: daemon.get(f"{V1}/list").json == [], "the list has lost it", 5)
    (entry,) = daemon.get(f"{V1}/list?all=1").json
    assert entry["status"] in ("exited", "stopped")


def test_deployments_are_instances_too(daemon, agent):
    assert [vm["name"] for vm in daemon.get("/api/vms").json] == [agent["container_name"]]


# -- stop ------------------------------------------------------------------------------------------------------------


def test_stop_removes_by_default(daemon, engine, agent):
    reply = daemon.post(f"{V1}/stop", {"container_name": agent["container_name"]})
    assert reply.status == 200 and reply.json == {"stopped": agent["container_name"], "removed": True}
    assert engine.containers() == []
    assert daemon.get(f"{V1}/list?all=1").json == []
    refused(daemon.post(f"{V1}/stop", {"container_name": agent["container_name"]}), 404, agent["container_name"])


def test_stop_without_removal(daemon, engine, agent):
    stop = {"container_name": agent["container_name"], "remove": False}
    reply = daemon.post(f"{V1}/stop", stop)
    assert reply.status == 200 and reply.json == {"stopped": agent["container_name"], "removed": False}
    assert engine.inspect(agent["container_name"])["State"]["Running"] is False
    assert daemon.get(f"{V1}/list").json == []
    assert [c["container_name"] for c in daemon.get(f"{V1}/list?all=1").json] == [agent["container_name"]]
    # Removing what is stopped already works.
    assert daemon.post(f"{V1}/stop", {**stop, "remove": True}).json["removed"] is True
    assert engine.containers() == []


@pytest.mark.parametrize("body, word", [({}, "container_name"), ({"container_name": 1}, "container_name"),
                                        ({"container_name": "a", "remove": "yes"}, "remove"),
                                        ({"container_name": "../a"}, "container_name")],
                         ids=["missing", "number", "text", "hostile"])
def test_an_invalid_stop_request_is_400(daemon, body, word):
    refused(daemon.post(f"{V1}/stop", body), 400, word)


def test_stop_of_what_does_not_exist_is_404(daemon):
    refused(daemon.post(f"{V1}/stop", {"container_name": "jules-agent-none-1234567890"}), 404)


# -- health ----------------------------------------------------------------------------------------------------------


def test_health_probes_the_path_that_is_asked_for(daemon, agent):
    answering(daemon, agent["container_name"])
    probe = daemon.get(f"{V1}/health/{agent['container_name']}?path=/absent").json["http_probe"]
    assert probe == {"status_code": 404, "response": {"error": "not found"}}


def test_health_of_an_agent_that_does_not_listen(daemon, git_http):
    made = deployed(daemon, git_http.repo("a", AGENT), startup_cmd=["python", "-c", "import time; time.sleep(600)"])
    health = daemon.get(f"{V1}/health/{made['container_name']}")
    assert health.status == 200 and health.json["container_status"] == "running"
    assert health.json["http_probe"]["status_code"] is None and health.json["http_probe"]["error"]


def test_an_agent_without_that_route_is_not_sick(daemon, git_http):
    made = deployed(daemon, git_http.repo("a", AGENT), health_path="/absent")

    def status():
        found = daemon.get(f"{V1}/health/{made['container_name']}").json["health_status"]
        return found if found != "starting" else None
    assert until(status, "the engine has an opinion", 90, pause=0.5) == "healthy"


def test_health_of_a_stopped_container(daemon, agent):
    daemon.post(f"{V1}/stop", {"container_name": agent["container_name"], "remove": False})
    health = daemon.get(f"{V1}/health/{agent['container_name']}")
    assert health.status == 200 and health.json["container_status"] in ("exited", "stopped")
    assert health.json["http_probe"] is None or health.json["http_probe"]["status_code"] is None


def test_health_of_what_does_not_exist_is_404(daemon):
    refused(daemon.get(f"{V1}/health/jules-agent-none-1234567890"), 404)


# -- without an engine -----------------------------------------------------------------------------------------------


def test_without_an_engine_the_four_routes_answer_501_and_why(make_daemon):
    daemon = make_daemon({"runtimes.docker.socket": "/nonexistent/docker.sock"})
    for reply in (deploy(daemon, "https://example.invalid/x"), daemon.get(f"{V1}/list"),
                  daemon.post(f"{V1}/stop", {"container_name": "a"}), daemon.get(f"{V1}/health/a")):
        refused(reply, 501, "/nonexistent/docker.sock")
