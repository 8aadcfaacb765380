"""The daemon's end in the middle of something, and what its next start makes of it."""

import contextlib
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.daemon import BUILD
from support.wait import until

IMAGE = "python:3.11-slim"
WAITS = ["python", "-c", "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\ntime.sleep(3600)"]
NULL = ("--plugin-dir", BUILD / "lib" / "minions" / "examples")


@pytest.fixture
def null_daemon(make_daemon):
    """A daemon that has the null runtime too, and takes it by default."""
    return make_daemon({"runtimes.default": "null", "runtimes.null.persistent": "true"}, arguments=NULL)


def create(daemon, name, **fields):
    reply = daemon.post("/api/vms", {"name": name, "image": IMAGE, **fields})
    assert reply.status == 201, f"{reply}\n{daemon.logs()}"
    return reply.json


def status(daemon, name):
    return daemon.get(f"/api/vms/{name}").json.get("status", "gone")


def begin(daemon, method, target):
    """A request whose reply nobody waits for, or which never comes."""
    def run():
        with contextlib.suppress(Exception):
            daemon.request(method, target)
    threading.Thread(target=run, daemon=True).start()


# -- SIGTERM ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repetition", range(3))
def test_a_stop_in_a_storm_of_events(null_daemon, repetition):
    begins = time.monotonic() + 8
    def one(number):  # each ends by itself, all of them within a moment
        left = begins + number * 0.0001 - time.monotonic()
        create(null_daemon, f"s{number}", labels={"null.exit_after_ms": str(int(left * 1000))})
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(500)))
    assert time.monotonic() < begins, "this machine is too slow for this test"
    until(lambda: '"stopped"' in null_daemon.get("/api/vms").text, "the storm begins", pause=0.001)
    null_daemon.stop()  # insists on exit code 0


def test_a_stop_while_a_plugin_hangs(null_daemon):
    create(null_daemon, "a", labels={"null.hang_ms.stop": "60000"})
    begin(null_daemon, "POST", "/api/vms/a/stop")
    until(lambda: status(null_daemon, "a") == "stopping", "the plugin hangs")
    null_daemon.stop()
    null_daemon.start()
    until(lambda: status(null_daemon, "a") == "running", "the next start knows how it is")


def test_a_start_that_fails_says_why_though_plugins_are_at_work(null_daemon):
    for number in range(20):
        create(null_daemon, f"s{number}", command=["sleep", "3600"])
    null_daemon.stop()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        null_daemon.arguments += ["--bind", address]
        assert null_daemon.launch().process.wait(20) == 1
        null_daemon.process = None
    until(lambda: address in null_daemon.logs(), "the daemon says what is in its way")


# -- SIGHUP ----------------------------------------------------------------------------------------------------------


def test_a_reload_is_taken_over_whole_or_not_at_all(make_daemon):
    daemon = make_daemon(configuration="log.level = info\naccess.trusted = 10.0.0.0/8=read\n")

    def reload(text, said):
        daemon.config.write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: said in daemon.logs(), "the daemon has read its configuration again")

    reload("log.level = debug\naccess.trusted = 10.0.0.0/8=king\n", "was not taken over")
    assert f"{daemon.config}:2" in daemon.logs() and "needs one of the scopes" in daemon.logs()
    reload("log.level = debug\naccess.trusted = 10.0.0.0/8=exec\n", "was read again")
    # Had the first one been taken over in part, the level would be no news now.
    assert "'log.level' has a new value" in daemon.logs() and "'access.trusted' has a new value" in daemon.logs()
    assert daemon.get("/api/vms").status == 200


# -- SIGKILL ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def frozen(engine):
    """Within `with frozen():` the engine does nothing, so that a change stays in its middle."""
    @contextlib.contextmanager
    def freeze():
        engine.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            engine.process.send_signal(signal.SIGCONT)
    return freeze


@pytest.mark.parametrize(("action", "meanwhile"),
                         [("start", "starting"), ("stop", "stopping"), ("restart", "stopping")])
def test_the_daemon_is_killed_during_a_change(daemon, engine, frozen, action, meanwhile):
    create(daemon, "a", runtime="docker", command=WAITS)
    if action == "start":
        assert daemon.post("/api/vms/a/stop").status == 200
    with frozen():
        begin(daemon, "POST", f"/api/vms/a/{action}")
        until(lambda: status(daemon, "a") == meanwhile, f"it is {meanwhile}", pause=0.005)
        daemon.kill()
    daemon.start()

    # The engine may have done what it was asked or not; the daemon knows which, and it can be changed again.
    def agree():
        word = engine.inspect(engine.containers()[0]["Id"])["State"]["Status"]
        return status(daemon, "a") == {"exited": "stopped", "running": "running"}.get(word)
    until(agree, "daemon and engine agree")
    assert daemon.post("/api/vms/a/restart").status == 200
    assert status(daemon, "a") == "running"


def test_the_daemon_is_killed_during_a_destroy(daemon, engine, frozen):
    create(daemon, "a", runtime="docker", command=WAITS)
    with frozen():
        begin(daemon, "DELETE", "/api/vms/a")
        until(lambda: status(daemon, "a") == "destroying", "it is being destroyed", pause=0.005)
        daemon.kill()
    daemon.start()
    until(lambda: status(daemon, "a") == "gone", "the destroy is completed")
    assert engine.containers() == []


# -- what failed is not forgotten ------------------------------------------------------------------------------------


def test_a_destroy_that_the_engine_refused_is_completed(daemon, engine):
    create(daemon, "a", runtime="docker", command=WAITS)
    with engine_away_for_one_call(engine, daemon):
        reply = daemon.delete("/api/vms/a")
        assert reply.status >= 500, reply
        assert status(daemon, "a") == "destroying"
    until(lambda: status(daemon, "a") == "gone", "the destroy is completed", 25)
    assert engine.containers() == []


@contextlib.contextmanager
def engine_away_for_one_call(engine, daemon):
    """The daemon finds no engine for a moment that is too short for a look at its health."""
    aside = engine.socket.with_suffix(".aside")
    engine.socket.rename(aside)
    try:
        yield
    finally:
        aside.rename(engine.socket)
