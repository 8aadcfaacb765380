"""What clients may use up of the HTTP server, and what everybody else notices of it: the real daemon and its own
routes, with instances of the null runtime."""

import contextlib
import http.client
import json
import multiprocessing
import resource
import selectors
import socket
import threading
import time

import pytest
from support.wait import until

VMS, V1 = "/api/vms", "/api/v1/vm"
SLOW, CLIENTS = 1000, 64
HEADER_TIMEOUT = 10  # seconds: http.header_timeout_seconds, as it is without configuration
P99 = 2.0  # seconds, for 64 clients in one Python process on two busy cores


@pytest.fixture
def vms(make_null_daemon):
    """make(settings) -> a daemon with a running instance `a`."""

    def make(settings=None):
        daemon = make_null_daemon(settings)
        assert daemon.post(VMS, {"name": "a", "image": "any"}).status == 201
        return daemon

    return make


def refused(reply, status, path):
    """In the form of the path's routes."""
    assert reply.status == status, reply
    assert isinstance(reply.json["detail" if path.startswith(V1) else "error"], str), reply
    assert ("code" in reply.json) == (not path.startswith(V1)), reply
    return reply


class Droppers:
    """Connections that each send one byte of an endless head a second, until the server has ended the last. A process
    of its own: beside 64 threads in one interpreter, they would not get their turn each second."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.replies = {}
        self.rounds = 0
        self.selector = selectors.DefaultSelector()
        for number in range(SLOW):
            connection = socket.create_connection((host, int(port)), timeout=10)
            connection.setblocking(False)
            self.replies[number] = b""
            self.selector.register(connection, selectors.EVENT_READ, number)

    def run(self):
        head = b"GET /api/vms HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 1000
        following = time.monotonic()
        while self.selector.get_map():
            for key in list(self.selector.get_map().values()):
                if not self.replies[key.data]:
                    # The server may have answered and closed since: its answer is still there to be read.
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        key.fileobj.send(head[self.rounds:self.rounds + 1])
            self.rounds += 1
            following = max(following + 1, time.monotonic())
            while self.selector.get_map():
                for key, _ in self.selector.select(max(following - time.monotonic(), 0)):
                    self.take(key)
                if time.monotonic() >= following:
                    break

    def take(self, key):
        try:
            got = key.fileobj.recv(4096)
        except ConnectionResetError:
            got = b""  # what was sent into the closing connection
        self.replies[key.data] += got
        if not got:
            self.selector.unregister(key.fileobj)
            key.fileobj.close()

    @classmethod
    def work(cls, address, to):
        droppers = cls(address)
        to.send("connected")
        droppers.run()
        to.send((droppers.rounds, list(droppers.replies.values())))


class KeepAlive(threading.Thread):
    """One client on one connection; `statuses` and `seconds` of each of its requests."""

    def __init__(self, address, over):
        super().__init__(daemon=True)
        self.address, self.over = address, over
        self.statuses, self.seconds = [], []

    def run(self):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            while not self.over.is_set():
                before = time.monotonic()
                connection.request("GET", VMS)
                reply = connection.getresponse()
                reply.read()
                self.seconds.append(time.monotonic() - before)
                self.statuses.append(reply.status)
        except OSError as error:
            self.statuses.append(error)
        finally:
            connection.close()


def test_a_thousand_slow_senders_and_64_clients_at_once(vms):
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, min(most, 4096)), most))
    daemon = vms()
    slow, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=Droppers.work, args=(daemon.address, theirs), daemon=True)
    process.start()
    assert slow.poll(30) and slow.recv() == "connected"
    over = threading.Event()
    clients = [KeepAlive(daemon.address, over) for _ in range(CLIENTS)]
    begin = time.monotonic()
    for client in clients:
        client.start()
    assert slow.poll(6 * HEADER_TIMEOUT)
    rounds, replies = slow.recv()
    lasted = time.monotonic() - begin
    over.set()
    for client in clients:
        client.join(30)
    process.join(10)
    assert process.exitcode == 0 and lasted >= HEADER_TIMEOUT - 2  # they began a little earlier than `begin`
    assert rounds > HEADER_TIMEOUT // 2
    assert all(reply.startswith(b"HTTP/1.1 408 ") for reply in replies), {reply[:12] for reply in replies}
    for client in clients:
        assert set(client.statuses) == {200} and len(client.statuses) > HEADER_TIMEOUT, client.statuses[-3:]
    seconds = sorted(second for client in clients for second in client.seconds)
    print(f"{len(seconds)} requests in {lasted:.1f} s, median {seconds[len(seconds) // 2]:.4f} s")
    assert seconds[len(seconds) * 99 // 100] <= P99


def test_commands_that_run_keep_no_change_waiting(vms):
    daemon = vms({"http.exec_threads": 2})
    command = json.dumps({"command": "sleep", "args": ["600"], "timeout_seconds": 600})
    running = [http.client.HTTPConnection(daemon.address) for _ in range(2)]
    for connection in running:
        connection.request("POST", f"{VMS}/a/exec", command, {"Content-Type": "application/json"})
    full = until(lambda: (reply := daemon.post(f"{VMS}/a/exec", {"command": "true"})).status != 200 and reply,
                 "the third command is one too many")
    refused(full, 429, VMS)
    assert full.headers["Retry-After"] and "http.exec_threads" in full.text
    assert daemon.get(f"{VMS}/a/status").status == 200
    assert daemon.post(VMS, {"name": "b", "image": "any"}).status == 201
    assert daemon.post(f"{VMS}/a/stop", {"force": True}).status == 200
    assert daemon.delete(f"{VMS}/a").status == 200
    for connection in running:  # who goes away ends the command
        connection.close()
    until(lambda: daemon.post(f"{VMS}/b/exec", {"command": "true"}).status == 200, "there is room for commands again")


def test_waiting_requests_beyond_their_number_are_429(vms):
    daemon = vms({"http.waiting_threads": 1})
    slow = {"name": "slow", "image": "any", "labels": {"null.delay_ms.start": "600000"}}
    # The one thread may still be busy with the end of the request before.
    creating = threading.Thread(target=until, daemon=True, args=(lambda: daemon.post(VMS, slow).status != 429, "room"))
    creating.start()
    until(lambda: daemon.get(f"{VMS}/slow").status == 200, "the create waits")
    for path in (f"{VMS}/a/status", f"{V1}/health/a"):
        full = refused(daemon.get(path), 429, path)
        assert full.headers["Retry-After"] and "http.waiting_threads" in full.text
    assert daemon.get(VMS).status == 200
    (operation,) = [one for one in daemon.get("/api/operations").json if one["status"] == "running"]
    assert daemon.post(f"/api/operations/{operation['id']}/cancel").status == 202
    creating.join(30)
    assert not creating.is_alive()


@pytest.mark.parametrize("path", [VMS, V1 + "/list"])
def test_what_is_no_request_is_refused_in_the_form_of_its_path(vms, path):
    daemon = vms({"http.max_body_bytes": 1024})
    post = VMS if path == VMS else V1 + "/deploy"
    refused(daemon.post(post, {"name": "x" * 2000}), 413, path)
    refused(daemon.get(path + "?a=" + "x" * 9000), 414, path)
    refused(daemon.get(path, headers={"X-Large": "x" * 40000}), 431, path)
    refused(daemon.get(path, headers={f"X-{number}": "x" for number in range(200)}), 431, path)
    refused(daemon.get(path, headers={"Host": "attacker.example"}), 421, path)
    refused(daemon.get(path, headers={"Origin": "http://attacker.example"}), 403, path)
    refused(daemon.get(path + "?a=%zz"), 400, path)
    refused(daemon.get(path + "?nosuch=1"), 400, path)
    refused(daemon.post(post, b"name=x", headers={"Content-Type": "text/plain"}), 415, path)
    refused(daemon.request("PATCH", path), 405, path)
    assert daemon.get(VMS).status == 200


def test_refusals_are_counted_with_the_rest(vms):
    daemon = vms()
    assert daemon.get(VMS + "?a=" + "x" * 9000).status == 414
    assert daemon.get("/nowhere").status == 404
    text = daemon.get("/metrics").text
    for line in ('minions_http_requests_total{method="GET",route="unmatched",status="404"} 1',
                 'minions_http_requests_total{method="other",route="unmatched",status="414"} 1',
                 'minions_http_requests_total{method="POST",route="/api/vms",status="201"} 1',
                 'minions_instances{runtime="null",status="running"} 1'):
        assert line in text, text
