"""QEMU run by hand: the least that boots a guest to the first word of its agent."""

import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000

# docs/agent-protocol.md
MAGIC, HEAD, MOST_PAYLOAD = 0xD7, 16, 64 << 10
RESET, RESET_DONE, HELLO = 1, 2, 3
NONCE = 4
RESET_PAUSE = 0.25


class Patience(Exception):
    """The guest took too long."""


def open_tap(name, bridge):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    subprocess.run(["ip", "link", "set", name, "master", bridge, "up"], check=True)
    return tap


def listen(path):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    made.listen(4)
    return made


def connect(path):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(str(path))
    return made


class Agent:
    """The host's side of the agent's protocol, as far as the hello."""

    def __init__(self, path):
        self.socket = connect(path)
        self.socket.setblocking(False)
        self.nonce = os.urandom(16)
        field = struct.pack("<BI", NONCE, len(self.nonce)) + self.nonce
        self.sought = field  # it ends the reset_done
        self.reset = bytes(HEAD + MOST_PAYLOAD) + struct.pack("<BBBBIII", MAGIC, RESET, 0, 0, 0, 0, len(field)) + field
        self.waiting, self.text = b"", b""

    def wait_for_hello(self, deadline):
        again = 0
        while not self.greeted():
            now = time.monotonic()
            if now > deadline:
                raise Patience("the agent says nothing")
            if now >= again:
                again = now + RESET_PAUSE
                self.waiting = self.waiting or self.reset
            ready = select.select([self.socket], [self.socket] if self.waiting else [], [], again - now)
            if ready[1]:
                self.waiting = self.waiting[self.socket.send(self.waiting):]
            if ready[0]:
                self.text += self.socket.recv(1 << 16)

    def greeted(self):
        """Whether a hello came after the answer to our reset."""
        _, found, rest = self.text.partition(self.sought)
        rest = rest.lstrip(b"\0")
        if not found or len(rest) < HEAD:
            return False
        magic, kind, _, _, _, _, size = struct.unpack("<BBBBIII", rest[:HEAD])
        assert (magic, kind) == (MAGIC, HELLO), f"the agent says {rest[:HEAD]}"
        return len(rest) >= HEAD + size


class Monitor:
    """QMP."""

    def __init__(self, path):
        self.file = connect(path).makefile("rw")
        json.loads(self.file.readline())
        self.run("qmp_capabilities")

    def run(self, command):
        self.file.write(json.dumps({"execute": command}) + "\n")
        self.file.flush()
        while "return" not in (reply := json.loads(self.file.readline())):
            assert "error" not in reply, reply


class ByHand:
    """The command line of a VMM that the daemon has started, on a disk, sockets and a TAP of its own."""

    def __init__(self, directory, pid, bridge="br0"):
        self.directory, self.bridge, self.number = Path(directory), bridge, 0
        self.directory.mkdir()
        self.argv = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")[:-1]
        self.disk = re.search(r"file=([^,]+),", " ".join(self.argv)).group(1)
        # Kept as it was before the first boot would need the daemon to stop in between: an equal one is made.
        info = json.loads(subprocess.run(["qemu-img", "info", "-U", "--output=json", self.disk], check=True,
                                         capture_output=True).stdout)
        self.backing, self.size = info["full-backing-filename"], info["virtual-size"]

    def boot(self, seconds):
        """Milliseconds from the start of QEMU to the agent's hello."""
        self.number += 1
        home = self.directory / str(self.number)
        home.mkdir()
        disk = home / "disk.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", self.backing, "-F", "raw", disk,
                        str(self.size)], check=True)
        tap = open_tap(f"hand{self.number}", self.bridge)
        qmp, port = listen(home / "qmp"), listen(home / "agent")
        given = {"socket,id=qmp,": qmp.fileno(), "socket,id=agent,": port.fileno(), "tap,id=net,": tap}
        argv = [self.changed(word, given, disk) for word in self.argv]
        with open(home / "console", "wb") as console:
            begin = time.perf_counter()
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                       pass_fds=list(given.values()), start_new_session=True)
            try:
                agent = Agent(home / "agent")
                Monitor(home / "qmp").run("cont")
                agent.wait_for_hello(time.monotonic() + seconds)
                return (time.perf_counter() - begin) * 1000
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
                qmp.close()
                port.close()
                os.close(tap)

    def changed(self, word, given, disk):
        for start, fd in given.items():
            if word.startswith(start):
                return re.sub(r"fd=\d+", f"fd={fd}", word)
        return word.replace(self.disk, str(disk))
