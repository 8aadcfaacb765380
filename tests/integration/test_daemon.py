"""The daemon as its operator sees it: how it starts, what it refuses, and how it ends."""

import shutil
import threading

from support.daemon import BUILD
from support.wait import until

VMS = "/api/vms"


def wait_for_end(daemon, seconds=20):
    """The exit code of a daemon that ends by itself."""
    code = daemon.launch().process.wait(seconds)
    daemon.process = None
    return code


def test_a_bad_key_stops_the_start_and_is_told_with_its_neighbour(make_null_daemon):
    daemon = make_null_daemon(start=False, configuration="http.max_conections = 5\n")
    assert wait_for_end(daemon) != 0
    until(lambda: "conections" in daemon.logs(), "the reason is told")
    for word in (str(daemon.config), "'http.max_conections'", "http.max_connections"):
        assert word in daemon.logs()


def test_a_bad_value_stops_the_start_and_is_told_with_its_bounds(make_null_daemon):
    daemon = make_null_daemon(start=False, configuration="# first\nhttp.max_connections = 1\n")
    assert wait_for_end(daemon) != 0
    until(lambda: "max_connections" in daemon.logs(), "the reason is told")
    for word in (f"{daemon.config}", "'http.max_connections'", "16"):
        assert word in daemon.logs()


def test_bad_plugins_are_listed_with_reason_and_cure_and_the_rest_goes_on(make_null_daemon, tmp_path):
    tmp_path.chmod(0o755)
    for name in ("no-entry", "wrong-abi", "crashes"):
        shutil.copy(BUILD / "tests" / "loader" / "bad" / f"{name}.so", tmp_path)
    shutil.copy(BUILD / "tests" / "loader" / "bad" / "fine.so", tmp_path / "writable.so")
    (tmp_path / "writable.so").chmod(0o777)
    daemon = make_null_daemon({"plugins.enabled": ""}, arguments=["--plugin-dir", tmp_path])
    plugins = daemon.get("/api/plugins").json
    refused = {plugin["path"].rsplit("/", 1)[1]: plugin for plugin in plugins if plugin["state"] == "refused"}
    assert set(refused) == {"no-entry.so", "wrong-abi.so", "crashes.so", "writable.so"}
    for plugin in refused.values():
        assert plugin["code"] and len(plugin["reason"]) > 20, plugin
    assert len({plugin["code"] for plugin in refused.values()}) == 4
    (null,) = [plugin for plugin in plugins if plugin.get("name") == "null"]
    assert null["state"] == "loaded" and null["health"]["healthy"]
    assert daemon.post(VMS, {"name": "a", "image": "any", "runtime": "null"}).status == 201


def asynchronously(function, *arguments):
    """Calls it on a thread; the list gets its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)), daemon=True)
    thread.start()
    return thread, results


def test_who_waits_while_the_daemon_ends_gets_an_outcome(make_null_daemon):
    daemon = make_null_daemon()
    assert daemon.post(VMS, {"name": "a", "image": "any"}).status == 201
    slow = {"name": "slow", "image": "any", "labels": {"null.delay_ms.start": "600000"}}
    executing, executed = asynchronously(daemon.post, f"{VMS}/a/exec", {"command": "sleep", "args": ["2"]})
    until(lambda: "minions_http_connections 2" in daemon.get("/metrics").text, "the command's request has come")
    creating, created = asynchronously(daemon.post, VMS, slow)
    until(lambda: daemon.get(f"{VMS}/slow").status == 200, "the create is under way")
    daemon.stop()
    creating.join(10)
    executing.join(10)
    assert created[0].status == 503 and created[0].headers["Retry-After"] and created[0].json["operation"]
    assert executed[0].status == 200 and executed[0].json["exit_code"] == 0
    daemon.start()
    assert [vm["name"] for vm in daemon.get(VMS).json] == ["a"]
    assert daemon.get(f"/api/operations/{created[0].json['operation']}").json["status"] == "cancelled"
