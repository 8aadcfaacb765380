"""Every command of the program against a real daemon, over TCP and over the Unix socket."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from support.daemon import BINARY
from support.engine import BASE_IMAGE
from support.samples import AGENT
from support.wait import until

WAITS = ["python", "-c", "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\n"
                         "print('first line', flush=True)\nprint('second line', flush=True)\ntime.sleep(3600)"]


@pytest.fixture(params=["tcp", "unix"])
def cli(request, daemon):
    """cli(argument…, code=0) -> the run of the program; AssertionError for another exit code."""
    def run(*arguments, code=0, **options):
        done = daemon.cli(*arguments, unix=request.param == "unix", **options)
        assert done.returncode == code, f"{done}\n{daemon.logs()}"
        return done
    return run


@pytest.fixture
def box(cli):
    """The name of a running instance, which has said its lines and ends when it is told to."""
    made = cli("create", "box", "--runtime", "docker", "--image", BASE_IMAGE, "--cpus", "1", "--memory", "128",
               "--env", "GREETING=hi there", "--label", "team=red", "--", *WAITS)
    assert re.fullmatch(r"VM 'box' is running at \d+\.\d+\.\d+\.\d+\n", made.stdout)
    until(lambda: "second" in cli("logs", "box").stdout, "both lines are there")
    return "box"


def table(done):
    """The rows of a printed table, each a dict by its column."""
    head, *rows = done.stdout.splitlines()
    columns = [(found.group(1), found.start(), found.end()) for found in re.finditer(r"(\S+)(\s+|$)", head)]
    ends = [end for _, _, end in columns[:-1]] + [None]
    return [{name: row[begin:end].rstrip() for (name, begin, _), end in zip(columns, ends)} for row in rows]


def members(done):
    """What `get` and `status` print: the value of each name."""
    return dict(re.split(r":\s+", line, maxsplit=1) for line in done.stdout.splitlines())


# -- instances -------------------------------------------------------------------------------------------------------


def test_list_and_get_show_what_create_made(cli, box):
    (row,) = table(cli("list"))
    assert (row["NAME"], row["STATUS"], row["CPUS"], row["MEMORY"]) == (box, "running", "1", "128")
    shown = members(cli("get", box))
    assert (shown["name"], shown["ip"], shown["pid"], shown["labels"]) == (box, row["IP"], row["PID"], "team=red")
    assert json.loads(cli("--json", "get", box).stdout)["name"] == box
    assert [vm["name"] for vm in json.loads(cli("list", "--json", "--label", "team=red").stdout)] == [box]
    assert cli("list", "--label", "team=blue").stdout == "No VMs found.\n"
    assert "VM 'other' not found" in cli("get", "other", code=1).stderr
    assert "there is no diagnosis" in cli("get", "--diagnosis", box, code=1).stderr


def test_status_shows_how_it_fares(cli, box):
    shown = members(cli("status", box))
    assert shown["status"] == "ok" and float(shown["memory_used_mb"]) > 0


def test_exec_passes_streams_input_and_exit_code_on(cli, box):
    done = cli("exec", box, "--", "sh", "-c", "echo $GREETING; echo err >&2; exit 3", code=3)
    assert (done.stdout, done.stderr) == ("hi there\n", "err\n")
    assert cli("exec", "-i", "-w", "/tmp", "-u", "65534", "-e", "K=V", box, "--", "sh", "-c", "cat; pwd; id -u; echo $K",
               stdin="in\n").stdout == "in\n/tmp\n65534\nV\n"


def test_logs_come_whole_by_tail_and_to_the_end(cli, box):
    cli("stop", box)
    assert cli("logs", box).stdout == "first line\nsecond line\n"
    assert cli("logs", "--tail", "1", box).stdout == "second line\n"
    assert cli("logs", "-f", box).stdout == "first line\nsecond line\n"


def test_an_instance_goes_through_its_life(cli, box):
    first = members(cli("get", box))["pid"]
    assert cli("pause", box).stdout == "VM 'box' is paused\n"
    assert table(cli("list", "--status", "paused")) != []
    assert cli("resume", box).stdout == "VM 'box' is running\n"
    assert cli("stop", "--timeout", "20", box).stdout == "VM 'box' is stopped\n"
    assert "while it is stopped" in cli("exec", box, "--", "true", code=1).stderr
    assert cli("start", box).stdout == "VM 'box' is running\n"
    assert cli("restart", "--force", box).stdout == "VM 'box' is running\n"
    assert members(cli("get", box))["pid"] != first
    assert cli("destroy", box).stdout == "VM 'box' destroyed\n"
    assert cli("list").stdout == "No VMs found.\n"
    assert "VM 'box' not found" in cli("destroy", box, code=1).stderr


def test_an_instance_gets_another_name_and_size_and_says_what_its_runtime_cannot(cli, box):
    assert cli("rename", box, "crate").stdout == "VM 'box' is 'crate' now\n"
    assert cli("resize", "crate", "--memory", "192").stdout == "VM 'crate' has 1 CPUs, 192 MiB of memory\n"
    assert "nothing to resize" in cli("resize", "crate", code=2).stderr
    assert cli("copy", "crate", "other").stdout == "VM 'other' is running\n"
    cli("destroy", "other")
    assert "'snapshot'" in cli("snapshot", "list", "crate", code=1).stderr


def test_a_create_that_fails_says_why_and_keeps_its_diagnosis(cli):
    failed = cli("create", "box", "--runtime", "docker", "--image", "no-such-image:1", code=1)
    assert "no-such-image:1" in failed.stderr
    assert "no-such-image:1" in cli("get", "--diagnosis", "box").stdout


# -- deployments -----------------------------------------------------------------------------------------------------


def test_a_deployment_shows_its_log_while_it_builds_and_by_the_id_of_the_list(cli, git_http):
    url = git_http.repo("agent", AGENT)
    done = cli("deploy", url, "--name", "my-agent", "--env", "AGENT_NAME=mine")
    container = re.fullmatch(r"(jules-agent-my-agent-\d+) is running, ports 8080/tcp=\d+\n", done.stdout).group(1)
    (row,) = table(cli("deployments", "--name", "my-agent"))
    assert (row["AGENT"], row["CONTAINER"], row["STATUS"]) == ("my-agent", container, "deployed")
    log = cli("deployments", "--log", row["ID"]).stdout
    assert log and log == done.stderr
    assert cli("deployments", "--name", "other").stdout == "No deployments found.\n"
    assert [vm["name"] for vm in json.loads(cli("list", "--json").stdout)] == [container]
    assert cli("exec", container, "--", "printenv", "AGENT_NAME").stdout == "mine\n"


def test_a_deployment_that_fails_says_so(cli, git_http):
    failed = cli("deploy", git_http.repo("agent", AGENT), "-n", "a", "--branch", "absent", code=1)
    assert "absent" in failed.stderr
    assert table(cli("deployments"))[0]["STATUS"] == "failed"


# -- the daemon ------------------------------------------------------------------------------------------------------


def test_events_tell_what_happened(cli, box):
    lines = cli("events", "--after", "0", "--count", "2").stdout.splitlines()
    assert len(lines) == 2
    event = json.loads(cli("--json", "events", "--after", "0", "-n", "1").stdout)
    assert lines[0].split()[:3] == [event["time"], str(event["id"]), event["type"]]
    assert cli("events", "--after", event["id"], "-n", "1").stdout == lines[1] + "\n"


def test_plugins_are_listed_with_their_health(cli):
    rows = {row["NAME"]: row for row in table(cli("plugins"))}
    assert (rows["docker"]["KIND"], rows["docker"]["STATE"]) == ("container", "healthy")
    assert (rows["qemu"]["KIND"], rows["qemu"]["STATE"]) == ("vm", "healthy")
    assert rows["cloudhv"]["KIND"] == "vm"


def test_images_are_built_listed_and_deleted(cli):
    assert "minimal" in cli("image", "build", "--recipe", "prebuilt", "minimal").stdout
    (row,) = table(cli("image", "list"))
    assert row["NAME"] == "minimal"
    cli("image", "delete", "minimal")
    assert cli("image", "list").stdout == "No images found.\n"


def test_a_token_works_until_it_is_revoked(cli):
    made = cli("token", "create", "ci", "--scope", "read", "--expires", "1h")
    token = made.stdout.strip()
    (row,) = table(cli("token", "list"))
    assert (row["NAME"], row["SCOPE"]) == ("ci", "read") and row["TOKEN"].lstrip("…") == token[-4:]
    assert row["ID"] in made.stderr and token not in cli("token", "list", "--json").stdout
    assert cli("--token", token, "list").stdout == "No VMs found.\n"
    assert "scope" in cli("--token", token, "create", "box", code=1).stderr
    cli("token", "revoke", row["ID"])
    assert cli("token", "list").stdout == "No tokens found.\n"
    assert cli("--token", token, "list", code=1).stderr.startswith("error: ")


def test_openapi_describes_the_routes(cli):
    assert "/api/vms/{name}/exec" in json.loads(cli("openapi").stdout)["paths"]


def test_config_shows_what_serve_would_use(cli, daemon):
    daemon.config.write_text("log.level = debug\n")
    shown = {row["KEY"]: row for row in table(cli("config", "--config", daemon.config, "--run-dir", daemon.run))}
    assert shown["log.level"]["VALUE"] == "debug" and shown["log.level"]["SOURCE"] == f"{daemon.config}:1"
    assert shown["server.socket"]["VALUE"] == str(daemon.socket)
    assert "runtimes.docker.socket" in shown  # a plugin's


def test_the_socket_of_this_machine_is_found_without_host(make_daemon):
    daemon = make_daemon(start=False)
    daemon.socket = "/run/minions/minions.sock"  # in these namespaces /run is ours
    daemon.start()
    done = subprocess.run([BINARY, "list"], env={**os.environ, "MINIONS_HOST": ""}, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "No VMs found.\n"), f"{done}\n{daemon.logs()}"


def test_every_command_is_tried_here(daemon):
    names = re.findall(r"^  ([a-z]+) {2,}[A-Z]", daemon.cli("--help").stdout, re.MULTILINE)
    untried = [name for name in names if f'cli("{name}"' not in Path(__file__).read_text(encoding="utf-8")]
    assert len(names) > 15 and untried == ["serve"]  # which is what all the others ask
