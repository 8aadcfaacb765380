"""What is lost when something dies in the middle: nothing that was acknowledged, and nothing is left of the rest."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.deploys import V1, answering, deploy, deployed, finished
from support.leaks import nothing_behind, nothing_held
from support.samples import AGENT, SLOW_BUILD
from support.wait import until

IMAGE = "python:3.11-slim"
WAITS = ["python", "-c", "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\ntime.sleep(3600)"]


class Background:
    """A call in a thread of its own; result() waits for it and raises what it raised."""

    def __init__(self, call, *arguments, **options):
        self.pool = ThreadPoolExecutor(1)
        self.future = self.pool.submit(call, *arguments, **options)

    def result(self, seconds=60):
        try:
            return self.future.result(seconds)
        finally:
            self.pool.shutdown(wait=False)


def create(daemon, name):
    return daemon.post("/api/vms", {"name": name, "image": IMAGE, "runtime": "docker", "command": WAITS})


def lists_again(daemon, seconds=10):
    """Within the promised time after the engine's return, the container routes work."""
    until(lambda: daemon.get(f"{V1}/list").status == 200, "the list answers again", seconds)


def a_build_runs(engine, states=("created", "running")):
    """Until the step that takes long has begun: until its container is there, in one of these states."""
    return until(lambda: any("pip" in container["Command"] and container["State"] in states
                             for container in engine.containers()),
                 "the engine runs the long build step", 60, pause=0.002)


@pytest.fixture(autouse=True)
def engine_returns(engine):
    """Whatever a test did to it, the engine is there for the next."""
    yield
    if engine.process.poll() is not None:
        engine.start()


# -- the engine dies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", [("created", "running"), ("running",)], ids=["as a step begins", "in a step"])
def test_the_engine_is_killed_during_a_build(daemon, engine, git_http, states):
    url = git_http.repo("slow", SLOW_BUILD)
    with nothing_behind(engine, daemon, seconds=30):
        call = Background(deploy, daemon, url)
        a_build_runs(engine, states)
        engine.kill9()
        reply = call.result()
        assert reply.status == 502 and str(engine.socket) in reply.text, reply
        assert daemon.get(f"{V1}/list").status == 501
        engine.start()
        lists_again(daemon)
    # And a deployment works again.
    assert deployed(daemon, git_http.repo("agent", AGENT))["status"] == "running"


def test_the_engine_is_killed_during_creates(daemon, engine):
    names = [f"vm{number}" for number in range(12)]
    calls = [Background(create, daemon, name) for name in names]
    until(engine.containers, "the engine has one of them", 30, pause=0.005)
    engine.kill9()
    replies = {name: call.result() for name, call in zip(names, calls)}
    engine.start()
    lists_again(daemon)
    acknowledged = {name for name, reply in replies.items() if reply.status == 201}
    assert all(reply.status in (201, 503) for reply in replies.values()), replies
    until(lambda: {vm["name"] for vm in daemon.get("/api/vms").json} == acknowledged, "the list has what was promised")
    until(lambda: len(engine.containers()) == len(acknowledged), "the engine has no container beside", 10, pause=0.1)
    # Without live restore the engine's containers ended with it; they start again.
    for name in sorted(acknowledged)[:1]:
        until(lambda: daemon.get(f"/api/vms/{name}").json["status"] == "stopped", "its end is known")  # noqa: B023
        assert daemon.post(f"/api/vms/{name}/start").status == 200


def test_the_engine_is_killed_during_an_exec(daemon, engine):
    assert create(daemon, "a").status == 201
    call = Background(daemon.post, "/api/vms/a/exec", {"command": "sh", "args": ["-c", "touch /on; sleep 600"]})
    until(lambda: daemon.post("/api/vms/a/exec", {"command": "test", "args": ["-e", "/on"]}).json["exit_code"] == 0,
          "the command runs")
    engine.kill9(containerd=True)
    reply = call.result(20)
    assert reply.status == 503 and reply.json["code"] == "unavailable", reply
    # Until it returns, what needs it says so, and what does not need it answers.
    assert daemon.get("/api/vms").status == 200 and daemon.get("/api/vms/a").status == 200
    assert daemon.post("/api/vms/a/exec", {"command": "true"}).status in (409, 503)
    engine.start()
    until(lambda: daemon.get("/api/vms/a").json["status"] == "stopped", "its state is known again")
    assert daemon.post("/api/vms/a/start").status == 200
    assert daemon.post("/api/vms/a/exec", {"command": "true"}).json["exit_code"] == 0


def test_the_engine_goes_and_comes_back(daemon, engine):
    engine.terminate()
    until(lambda: daemon.get(f"{V1}/list").status == 501, "the daemon says that the engine is away")
    refused = create(daemon, "a")
    assert refused.status == 503 and refused.json["code"] == "unavailable" and str(engine.socket) in refused.text
    assert daemon.get("/healthz").status == 200
    engine.start()
    lists_again(daemon)
    assert create(daemon, "a").status == 201


def test_an_engine_that_hangs_holds_nobody(make_daemon, engine):
    daemon = make_daemon({"runtimes.docker.api_timeout_seconds": 2})
    assert create(daemon, "a").status == create(daemon, "stopping").status == 201
    with engine.hung():
        calls = [Background(create, daemon, "b"), Background(daemon.post, "/api/vms/a/exec", {"command": "true"}),
                 Background(daemon.post, "/api/vms/stopping/stop", {"force": True})]
        assert daemon.get("/api/vms").status == 200 and daemon.get("/api/vms/a").status == 200
        for call in calls:
            reply = call.result(30)
            assert reply.status == 503 and reply.json["code"] == "unavailable", reply
    # What was asked for meanwhile may have been done late: it is known, or undone.
    def agree():
        names = {vm["name"] for vm in daemon.get("/api/vms").json}
        return names == {"a", "stopping"} and len(engine.containers()) == 2
    until(agree, "daemon and engine agree", 15, pause=0.1)
    if until(lambda: daemon.get("/api/vms/stopping").json["status"], "its state is known") != "running":
        assert daemon.post("/api/vms/stopping/start").status == 200
    for name in ("a", "stopping"):
        assert daemon.post(f"/api/vms/{name}/exec", {"command": "true"}).json["exit_code"] == 0


def test_without_an_engine_the_daemon_is_up_and_says_why(make_daemon):
    daemon = make_daemon({"runtimes.docker.socket": "/nonexistent/docker.sock"})
    assert daemon.get("/healthz").status == 200
    assert daemon.get("/api/vms").json == []
    refused = create(daemon, "a")
    assert refused.status == 503 and "/nonexistent/docker.sock" in refused.text
    assert "/nonexistent/docker.sock" in daemon.get("/api/plugins").text
    assert daemon.get("/api/vms/a").status == 404


def test_aborted_builds_hold_nothing(daemon, engine, git_http):
    url = git_http.repo("slow", SLOW_BUILD)

    def abort():
        operation = deploy(daemon, url, headers={"Prefer": "respond-async"}).json["id"]
        a_build_runs(engine)
        daemon.post(f"/api/operations/{operation}/cancel", {})
        assert finished(daemon, operation)["status"] != "succeeded"
        until(lambda: not engine.containers(), "the build's container is gone")

    with nothing_behind(engine, daemon):
        nothing_held(daemon, abort, 4)


# -- the daemon dies -------------------------------------------------------------------------------------------------


def test_the_daemon_is_killed_while_it_clones(daemon, engine, git_http):
    url = git_http.repo("agent", AGENT)
    git_http.hold()
    with nothing_behind(engine, daemon):
        threading.Thread(target=quietly, args=(deploy, daemon, url), daemon=True).start()
        until(lambda: git_http.requests, "git asks the server")
        daemon.kill()
        assert daemon.helpers() and daemon.files()  # git goes on, so that there is something to be seen
        daemon.start()  # while git waits for a server that never answers
    git_http.release()
    assert daemon.get(f"{V1}/list?all=1").json == []


def test_the_daemon_is_killed_while_it_builds(daemon, engine, git_http):
    url = git_http.repo("slow", SLOW_BUILD)
    with nothing_behind(engine, daemon, seconds=20):
        threading.Thread(target=quietly, args=(deploy, daemon, url), daemon=True).start()
        a_build_runs(engine)
        daemon.kill()
        daemon.start()
    assert daemon.get(f"{V1}/list?all=1").json == []


def test_the_daemon_is_killed_in_the_first_step_of_a_build(daemon, engine, git_http):
    url = git_http.repo("slow", SLOW_BUILD)
    with nothing_behind(engine, daemon, seconds=10):
        threading.Thread(target=quietly, args=(deploy, daemon, url), daemon=True).start()
        until(engine.containers, "the engine runs a build step", 60)
        daemon.kill()
        daemon.start()


def test_the_daemon_is_killed_during_creates(daemon, engine):
    kept = create(daemon, "kept").json
    for number in range(8):
        threading.Thread(target=quietly, args=(create, daemon, f"vm{number}"), daemon=True).start()
    until(lambda: len(engine.containers()) > 2, "some of them are under way", 30, pause=0.005)
    daemon.kill()
    daemon.start()
    # Each either exists and works, or nothing of it does.
    def agree():
        known = daemon.get("/api/vms").json
        return len(known) == len(engine.containers()) and all(vm["status"] == "running" for vm in known)
    until(agree, "daemon and engine agree", 15, pause=0.1)
    assert daemon.get("/api/vms/kept").json["pid"] == kept["pid"]


def test_a_drain_ends_a_deployment_and_leaves_nothing(daemon, engine, git_http):
    url = git_http.repo("slow", SLOW_BUILD)
    with nothing_behind(engine, daemon, seconds=20):
        threading.Thread(target=quietly, args=(deploy, daemon, url), daemon=True).start()
        a_build_runs(engine)
        daemon.restart()


def quietly(call, *arguments):
    """For calls whose connection is cut on purpose."""
    try:
        call(*arguments)
    except (OSError, ConnectionError):
        pass
    except Exception as failure:  # http.client has its own for a reply that never came
        if "Remote end closed" not in str(failure) and "BadStatusLine" not in type(failure).__name__:
            raise


# -- many at once ----------------------------------------------------------------------------------------------------


def test_twenty_deployments_at_once(daemon, engine, git_http):
    url = git_http.repo("agent", AGENT)
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda number: deploy(daemon, url, f"agent-{number}"), range(20)))
    assert [reply.status for reply in replies] == [200] * 20, \
        "\n".join(str(reply) for reply in replies if reply.status != 200)
    names = {reply.json["container_name"] for reply in replies}
    ports = {reply.json["ports"]["8080/tcp"] for reply in replies}
    assert len(names) == 20 and len(ports) == 20
    assert {entry["container_name"] for entry in daemon.get(f"{V1}/list").json} == names
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda name: answering(daemon, name, seconds=60), names))
        stopped = list(pool.map(lambda name: daemon.post(f"{V1}/stop", {"container_name": name}), names))
    assert [reply.status for reply in stopped] == [200] * 20
    assert engine.containers() == [] and daemon.get(f"{V1}/list?all=1").json == []


def test_twenty_deployments_of_one_name_at_once(daemon, git_http):
    url = git_http.repo("agent", AGENT)
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: deploy(daemon, url, "same"), range(20)))
    assert [reply.status for reply in replies] == [200] * 20, \
        "\n".join(str(reply) for reply in replies if reply.status != 200)
    assert len({reply.json["container_name"] for reply in replies}) == 20
