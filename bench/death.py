"""How soon a client of the event stream learns that a VMM was killed."""

import json
import os
import select
import signal
import socket
import time

from measure import Timing

REQUEST = b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
PATIENCE_MS = 10000


class EventStream:
    """A client of /api/events that can be polled beside other descriptors."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_MS / 1000)
        self.socket.connect(str(path))
        self.socket.sendall(REQUEST)
        self.text = b""
        while b"\r\n\r\n" not in self.text:  # from the head on no event is missed
            self.read()
        self.text = self.text.partition(b"\r\n\r\n")[2]

    def read(self):
        more = self.socket.recv(65536)
        assert more, "the event stream has ended"
        self.text += more

    def has(self, kind, name):
        for line in self.text.split(b"\n"):
            if line.startswith(b"data: "):
                try:
                    event = json.loads(line[6:])
                except ValueError:  # its rest is on the way
                    continue
                if (event["type"], event["subject"]) == (kind, name):
                    return True
        return False

    def close(self):
        self.socket.close()


class Deaths:
    """Durations from kill -9 of VMMs to the event, and to when the kernel says that the process has ended."""

    def __init__(self):
        self.events, self.ends = [], []

    def add(self, daemon, vm):
        """Kills the VMM of a running VM."""
        stream = EventStream(daemon.socket)
        process = os.pidfd_open(vm["pid"])
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(stream.socket, select.POLLIN)
        try:
            begin = time.perf_counter()
            signal.pidfd_send_signal(process, signal.SIGKILL)
            told = ended = None
            while told is None or ended is None:
                ready = {fd for fd, _ in poll.poll(PATIENCE_MS)}
                now = (time.perf_counter() - begin) * 1000
                assert ready, f"no event of the end of {vm['name']}\n{daemon.logs()}"
                if process in ready:
                    ended = now
                    poll.unregister(process)
                if stream.socket.fileno() in ready:
                    stream.read()
                    if stream.has("instance.stopped", vm["name"]):
                        told = now
            self.events.append(told)
            self.ends.append(ended)
        finally:
            os.close(process)
            stream.close()

    def tell(self, results, which, kernels_share):
        """Adds the row. Whether the goal holds for what the kernel takes too, to free what the VMM had: of a stand-in that
        is little, of a guest's memory it is most."""
        told, ended = Timing(self.events), Timing(self.ends)
        after = Timing([event - end for event, end in zip(self.events, self.ends)])
        detail = (f"from kill -9 {told.p50:.2f} ms, p99 {told.p99:.2f} ms; its end comes after {ended.p50:.2f} ms, "
                  f"the event {after.p50:.2f} ms after that")
        if kernels_share:
            results.at_most(f"kill -9 of a VMM ({which}) to its event at a client, p50", told.p50, 1, "ms", detail)
        else:
            results.at_most(f"end of a VMM ({which}) to its event at a client, p50", after.p50, 1, "ms", detail)
