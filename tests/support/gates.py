"""A proxy to the sandbox that can hold a request, before it is forwarded or before its reply is returned."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.patience import PATIENCE_SECONDS

_NOT_FORWARDED = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}


class Stop(Enum):
    """Where a request is held."""

    UPLOAD = "before a file is uploaded, which precedes the start request"
    START_REPLY = "after the provider accepted the start request, before its reply is returned"


class Gate:
    """Holds the next request of a kind until the gate is opened."""

    def __init__(self) -> None:
        self._stop: Stop | None = None
        self._arrived = threading.Event()
        self._opened = threading.Event()
        self.port = 0

    def close(self, stop: Stop) -> None:
        """Hold requests of this kind from now on."""
        self._arrived.clear()
        self._opened.clear()
        self._stop = stop

    def wait(self) -> None:
        """Wait until a request is held."""
        assert self._arrived.wait(PATIENCE_SECONDS), "no request reached the gate"

    def open(self) -> None:
        """Release all requests."""
        self._stop = None
        self._opened.set()

    def pass_through(self, stop: Stop) -> None:
        """Wait while requests of this kind are held."""
        if self._stop is stop:
            self._arrived.set()
            self._opened.wait(PATIENCE_SECONDS)


@contextmanager
def open_gate(target_port: int) -> Iterator[Gate]:
    """Run the proxy to a port of this machine."""
    gate = Gate()

    class Handler(BaseHTTPRequestHandler):
        """Forwards one request and returns its reply."""

        def handle_one(self) -> None:
            """Forward a request of any method."""
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            if self.path.endswith("/request-url"):
                gate.pass_through(Stop.UPLOAD)
            far = http.client.HTTPConnection("127.0.0.1", target_port, timeout=PATIENCE_SECONDS)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_FORWARDED}
            far.request(self.command, self.path, body, headers)
            reply = far.getresponse()
            data = reply.read()
            far.close()
            if self.path.endswith("/run"):
                gate.pass_through(Stop.START_REPLY)
            self.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in _NOT_FORWARDED:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815 - the names that the library calls

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        """Ignores clients that are killed while they wait."""

        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Log nothing."""

    with Server(("127.0.0.1", 0), Handler) as server:
        gate.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield gate
        finally:
            gate.open()
            server.shutdown()
