"""A WebSocket client (RFC 6455) as small as the tests of exec allow."""

import base64
import json
import os
import socket
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
PROTOCOL = "minions.exec.v1"


class Refused(Exception):
    """The server answered with something else than 101."""

    def __init__(self, status, head):
        super().__init__(f"{status}\n{head}")
        self.status, self.head = status, head


class WebSocket:
    """One connection to `path` at `address` ("host:port"). Frames go out masked; nothing is hidden: pings come back
    from receive() like other frames."""

    def __init__(self, address, path, protocol=PROTOCOL, headers=None, seconds=60):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), seconds)
        self.buffer = b""
        wanted = {"Host": address, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Sec-WebSocket-Protocol": protocol,
                  **(headers or {})}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in wanted.items()), "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        self.head = head.decode()
        status = int(self.head.split()[1])
        if status != 101:
            self.socket.close()
            raise Refused(status, self.head)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _fill(self):
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise EOFError("the server ended the connection")
        self.buffer += piece

    def _take(self, size):
        while len(self.buffer) < size:
            self._fill()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def send(self, opcode, payload=b"", last=True):
        size, mask = len(payload), os.urandom(4)
        head = bytes([(0x80 if last else 0) | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 1 << 16:
            head += struct.pack("!BH", 0x80 | 126, size)
        else:
            head += struct.pack("!BQ", 0x80 | 127, size)
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
        self.socket.sendall(head + mask + (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little"))

    def receive(self):
        """(opcode, payload) of the next frame."""
        first, second = self._take(2)
        assert first & 0x70 == 0 and second & 0x80 == 0, "a reserved bit, or a masked frame from a server"
        size = second & 0x7f
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        return first & 0x0f, self._take(size)


class Exec(WebSocket):
    """A command in an instance. After run() or drain(): out, error (bytes), record, close_code."""

    def __init__(self, daemon, name="a", seconds=60, **spec):
        super().__init__(daemon.address, f"/api/vms/{name}/exec", seconds=seconds)
        self.out, self.error, self.record, self.close_code = b"", b"", None, None
        if spec:
            self.text(spec)

    def text(self, document):
        self.send(TEXT, json.dumps(document).encode())

    def input(self, data):
        self.send(BINARY, b"\0" + data)

    def step(self, sink=None):
        """Takes one frame; False once the connection has ended."""
        try:
            opcode, payload = self.receive()
        except (EOFError, ConnectionError):
            return False
        if opcode == BINARY:
            if payload[0] == 2:
                self.error += payload[1:]
            elif sink:
                sink(payload[1:])
            else:
                self.out += payload[1:]
        elif opcode == TEXT:
            assert self.record is None, "a second record"
            self.record = json.loads(payload)
        elif opcode == CLOSE:
            self.close_code = struct.unpack("!H", payload[:2])[0] if payload else 1005
            try:
                self.send(CLOSE, payload[:2])
            except ConnectionError:
                pass
        return True

    def drain(self, sink=None):
        while self.step(sink):
            pass
        self.socket.close()
        return self

    def wait_for(self, text):
        while text not in self.out:
            assert self.step(), f"the connection ended; so far: {self.out!r} {self.record}"
        return self


def run(daemon, command, *arguments, name="a", seconds=60, sink=None, **spec):
    """Runs a command to its end."""
    return Exec(daemon, name, seconds, command=command, args=list(arguments), **spec).drain(sink)
