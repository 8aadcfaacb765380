"""Commands over a WebSocket: what docs/api.md says of GET /api/vms/{name}/exec, and the command line on it."""

import fcntl
import hashlib
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from pathlib import Path

import pytest
from support.daemon import BINARY
from support.wait import until
from support.websocket import BINARY as BINARY_FRAME
from support.websocket import CLOSE, PING, PONG, TEXT, Exec, Refused, WebSocket, run

IMAGE = "python:3.11-slim"
VMS = "/api/vms"
BLOCK = bytes(range(256)) * 256
BLOCKS = (1 << 30 if os.environ.get("MINIONS_TEST_LONG") else 64 << 20) // len(BLOCK)
POUR = f"import os\nblock = bytes(range(256)) * 256\nfor _ in range({BLOCKS}):\n" \
       "    rest = block\n    while rest: rest = rest[os.write(1, rest):]\n"


def create(daemon, name="a", **fields):
    reply = daemon.post(VMS, {"name": name, "image": IMAGE, **fields})
    assert reply.status == 201, f"{reply}\n{daemon.logs()}"
    return reply.json


@pytest.fixture
def null(make_null_daemon):
    daemon = make_null_daemon()
    create(daemon)
    return daemon


@pytest.fixture
def box(daemon):
    create(daemon, runtime="docker", command=["sleep", "3600"])
    return daemon


def resident(daemon):
    for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmRSS")


def cpu_ticks(daemon):
    return sum(map(int, Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))


def has_stalled(daemon, pause=0.3):
    """Whether the daemon does nothing for a while."""
    before = cpu_ticks(daemon)
    threading.Event().wait(pause)
    return cpu_ticks(daemon) == before


# -- the protocol, with a runtime that is all in memory --------------------------------------------------------------


def test_streams_come_apart_with_the_exit_record_last(null):
    done = run(null, "echo", "hello")
    assert (done.out, done.error, done.record, done.close_code) == (b"hello\n", b"", {"exit_code": 0, "signal": None}, 1000)
    done = run(null, "nonsense")
    assert done.out == b"" and b"nonsense" in done.error and done.record["exit_code"] == 127


def test_pings_are_answered_and_fragments_put_together(null):
    with Exec(null) as command:
        command.send(TEXT, b'{"command": "cat", ', last=False)
        command.send(PING, b"are you there")
        assert command.receive() == (PONG, b"are you there")
        command.send(0, b'"stdin": true}')
        command.send(BINARY_FRAME, b"\0in ", last=False)
        command.send(0, b"", last=False)
        command.send(0, b"pieces")
        command.wait_for(b"in pieces")
        command.input(b"")
        assert command.drain().record["exit_code"] == 0


def test_a_reader_that_waits_costs_no_memory_and_loses_nothing(null):
    with Exec(null, command="yes") as command:
        command.wait_for(b"y\n")
        until(lambda: has_stalled(null), "the daemon waits for its reader", 30)
        before = resident(null)
        seen = 0

        def count(piece):
            nonlocal seen
            assert piece.strip(b"y\n") == b""
            seen += len(piece)

        while seen < 32 << 20:
            assert command.step(count)
        until(lambda: has_stalled(null), "the daemon waits for its reader", 30)
        assert resident(null) - before < 8 << 20


def test_a_command_that_reads_nothing_costs_no_memory(null):
    with Exec(null, command="sleep", args=["600"], stdin=True) as command:
        command.socket.settimeout(2)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 << 20:
                command.input(b"x" * 65536)
                sent += 65536
        assert 0 < sent < 32 << 20
        assert resident(null) < 200 << 20


def test_signal_and_timeout(null):
    with Exec(null, command="sleep", args=["600"]) as command:
        command.text({"signal": 15})
        assert command.drain().record == {"exit_code": None, "signal": 15}
    late = run(null, "sleep", "600", timeout_seconds=0.2)
    assert late.record["code"] == "deadline" and late.close_code == 1000


@pytest.mark.parametrize("frame, code", [
    (b"\x81\x02{}", 1002),                        # not masked
    (b"\xf1\x80\0\0\0\0", 1002),                  # reserved bits
    (b"\x8b\x80\0\0\0\0", 1002),                  # an unknown opcode
    (b"\x82\xff\0\0\0\0\xff\xff\xff\xff", 1009),  # 4 GiB are announced
    (b"\x82\x81\0\0\0\0\x07", 1003),              # channel 7
    (b"\x81\x81\0\0\0\0\xff", 1007),              # no UTF-8
    (b"\x81\x81\0\0\0\0{", 1007),                 # no JSON
])
def test_garbage_is_refused_with_its_code_and_ends_the_command(null, frame, code):
    with Exec(null, command="sleep", args=["600"]) as command:
        command.socket.sendall(frame)
        command.drain()
        assert command.close_code == code and command.record is None
    assert run(null, "true").record["exit_code"] == 0


def test_noise_does_no_harm(null):
    for _ in range(20):
        with Exec(null, command="cat", stdin=True) as command:
            command.socket.sendall(os.urandom(4096))
    assert run(null, "true").record["exit_code"] == 0


@pytest.mark.parametrize("headers, status", [
    ({"Upgrade": "h2c"}, 426), ({"Connection": "close"}, 426), ({"Sec-WebSocket-Version": "12"}, 426),
    ({"Sec-WebSocket-Key": "x"}, 400), ({"Sec-WebSocket-Protocol": "chat"}, 400),
    ({"Origin": "http://evil.example"}, 403)])
def test_what_is_no_upgrade_gets_an_ordinary_reply(null, headers, status):
    with pytest.raises(Refused) as refused:
        WebSocket(null.address, f"{VMS}/a/exec", headers=headers)
    assert refused.value.status == status
    if status == 426:
        assert "\nUpgrade: websocket" in refused.value.head


def test_an_absent_instance_or_a_wrong_state_is_said_before_the_upgrade(null):
    with pytest.raises(Refused) as refused:
        Exec(null, "nobody")
    assert refused.value.status == 404
    null.post(f"{VMS}/a/stop")
    with pytest.raises(Refused) as refused:
        Exec(null)
    assert refused.value.status == 409


def test_the_daemon_stops_while_commands_run(null):
    with Exec(null, command="yes") as first, Exec(null, command="sleep", args=["600"]) as second:
        first.wait_for(b"y\n")
        second.text({"rows": 1, "columns": 1})
        null.stop(30)


# -- containers ------------------------------------------------------------------------------------------------------


def test_a_stream_of_any_size_comes_whole(box):
    digest, size = hashlib.sha256(), 0

    def take(piece):
        nonlocal size
        digest.update(piece)
        size += len(piece)

    before = resident(box)
    done = run(box, "python", "-c", POUR, sink=take, seconds=300)
    assert done.record["exit_code"] == 0 and size == BLOCKS * len(BLOCK)
    expected = hashlib.sha256()
    for _ in range(BLOCKS):
        expected.update(BLOCK)
    assert digest.digest() == expected.digest()
    assert resident(box) - before < 32 << 20


def test_stdin_goes_through_and_its_end_too(box):
    data = os.urandom(4 << 20)
    with Exec(box, command="sha256sum", stdin=True) as command:
        for at in range(0, len(data), 100_000):
            command.input(data[at:at + 100_000])
        command.input(b"")
        assert command.drain().out.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_a_terminal_with_its_size(box):
    script = ("import os, time\nprint('ready', os.isatty(0), os.isatty(2), *os.get_terminal_size(), flush=True)\n"
              "while os.get_terminal_size() != (101, 33): time.sleep(0.01)\nprint('resized', flush=True)\n"
              "print('got', input(), flush=True)\n")
    with Exec(box, command="python", args=["-c", script], tty=True, stdin=True, rows=10, columns=40) as command:
        command.wait_for(b"ready True True")
        command.text({"rows": 33, "columns": 101})
        command.wait_for(b"resized")
        command.input(b"words\n")
        assert b"got words\r\n" in command.drain().out and command.record["exit_code"] == 0


def test_a_signal_reaches_the_command(box):
    script = ("import signal, sys, time\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(7))\n"
              "print('ready', flush=True)\ntime.sleep(600)")
    with Exec(box, command="python", args=["-c", script]) as command:
        command.wait_for(b"ready")
        command.text({"signal": 2})
        assert command.drain().record["exit_code"] == 7


@pytest.mark.parametrize("how", ["gone", "closed", "late"])
def test_the_command_and_its_children_end_with_the_client_or_its_time(box, how):
    script = "sleep 1000.5 & sleep 1000.5"
    running = "grep -lszx '1000[.]5' /proc/[0-9]*/cmdline | wc -l"
    late = {"timeout_seconds": 3} if how == "late" else {}
    with Exec(box, command="sh", args=["-c", f"{script} & echo up; wait"], **late) as command:
        command.wait_for(b"up")
        assert until(lambda: int(run(box, "sh", "-c", running).out) == 2 or how == "late", "both run")
        if how == "closed":
            command.send(CLOSE, struct.pack("!H", 1000))
            assert command.drain().close_code == 1000
        if how == "late":
            assert command.drain().record["code"] == "deadline"
    until(lambda: int(run(box, "sh", "-c", running).out) == 0, "nothing is left of the command")


# -- the command line ------------------------------------------------------------------------------------------------


def start_cli(daemon, *arguments, **streams):
    return subprocess.Popen([str(BINARY), "--host", f"unix:{daemon.socket}", "exec", *arguments], **streams)


def test_the_cli_streams_both_ways_as_it_comes(null):
    with start_cli(null, "-i", "a", "--", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cli:
        for line in (b"one\n", b"\xff\0two\n"):
            cli.stdin.write(line)
            cli.stdin.flush()
            assert cli.stdout.readline() == line
        cli.stdin.close()
        assert cli.stdout.read() == b""
        assert cli.wait(20) == 0


def test_the_cli_ends_with_its_reader(null):
    with start_cli(null, "a", "--", "yes", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as cli:
        assert cli.stdout.readline() == b"y\n"
        cli.stdout.close()
        assert cli.wait(20) in (141, -signal.SIGPIPE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_the_cli_passes_signals_on(box, number):
    script = (f"import signal, sys, time\nsignal.signal({int(number)}, lambda *_: sys.exit(9))\n"
              "print('ready', flush=True)\ntime.sleep(600)")
    with start_cli(box, "a", "--", "python", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as cli:
        assert cli.stdout.readline() == b"ready\n"
        cli.send_signal(number)
        assert cli.wait(20) == 9


def test_the_cli_dies_with_the_code_of_the_signal_and_in_the_end_without_the_command(null):
    with start_cli(null, "a", "--", "sleep", "600", stdin=subprocess.DEVNULL) as cli:
        until(lambda: Path(f"/proc/{cli.pid}/status").exists() and "SigBlk:\t0000000000000000" not in
              Path(f"/proc/{cli.pid}/status").read_text(), "it reads its signals")
        cli.send_signal(signal.SIGTERM)
        assert cli.wait(20) == 143


class Terminal:
    """A pseudo terminal with a program in it."""

    def __init__(self, daemon, *arguments):
        self.master, self.slave = pty.openpty()
        self.resize(20, 50)
        self.before = termios.tcgetattr(self.slave)
        self.cli = start_cli(daemon, *arguments, stdin=self.slave, stdout=self.slave, stderr=self.slave,
                             start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.text = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text):
        while text not in self.text:
            self.text += os.read(self.master, 4096)

    def close(self):
        self.cli.kill()
        self.cli.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal():
    made = []

    def make(*arguments):
        made.append(Terminal(*arguments))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_the_cli_gives_the_command_this_terminal(box, terminal):
    shell = terminal(box, "-it", "a", "--", "sh")
    shell.wait_for(b"# ")
    os.write(shell.master, b"stty size; echo $TERM-\n")
    shell.wait_for(b"20 50\r\n")
    shell.resize(41, 77)
    script = b"until [ \"$(stty size)\" = '41 77' ]; do :; done; echo res''ized\n"
    os.write(shell.master, script)
    shell.wait_for(b"resized\r\n")
    os.write(shell.master, b"sh -c 'echo sle''eps; exec sleep 600' || echo inter''rupted\n")
    shell.wait_for(b"sleeps\r\n")
    os.write(shell.master, b"\x03")
    os.write(shell.master, b"echo ba''ck; exit 4\n")
    shell.wait_for(b"back\r\n")
    assert shell.cli.wait(20) == 4
    assert termios.tcgetattr(shell.slave) == shell.before


@pytest.mark.parametrize("how", ["signal", "daemon"])
def test_the_terminal_is_restored_on_every_way_out(null, terminal, how):
    shown = terminal(null, "-it", "a", "--", "size")
    shown.wait_for(b"20 50")
    shown.resize(21, 51)
    shown.wait_for(b"21 51")
    assert termios.tcgetattr(shown.slave) != shown.before
    if how == "signal":
        shown.cli.send_signal(signal.SIGTERM)
    else:
        null.kill()
    assert shown.cli.wait(20) == (143 if how == "signal" else 3)
    assert termios.tcgetattr(shown.slave) == shown.before
