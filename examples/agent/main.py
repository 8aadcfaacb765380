"""The sample agent: a small HTTP service that needs nothing but Python.

GET /health  {"status": "ok"}
GET /        what this is
"""

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STARTED = time.monotonic()


def about():
    return {"agent": os.environ.get("AGENT_NAME", "sample"), "message": "an agent deployed by minions",
            "python": sys.version.split()[0], "uptime_seconds": round(time.monotonic() - STARTED, 3)}


ROUTES = {"/health": lambda: {"status": "ok"}, "/": about}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        route = ROUTES.get(self.path.partition("?")[0])
        body = json.dumps(route() if route else {"error": "not found"}).encode()
        self.send_response(200 if route else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *arguments):
        print(self.address_string(), form % arguments, flush=True)


def main():
    # As process 1 of a container, Python would ignore SIGTERM by default.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(os.environ.get("PORT", "8080"))
    server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
    server.daemon_threads = True
    print(f"listening on port {port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
