"""A proxy between Flowport and a sandbox, which can be disconnected and reconnected."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping

_CHUNK_BYTES = 65_536
_HOST = "127.0.0.1"


class Proxy:
    """A port of this machine that forwards to another; while it is cut, connections are refused."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.replaced: dict[bytes, bytes] = {}
        """Replacements in responses, reversed in requests: file URLs use the proxy too."""
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = _listen_like(target_port)
        self.port: int = self._listener.getsockname()[1]
        self._listen()

    def cut(self) -> None:
        """Refuse new connections and close the open ones."""
        with self._lock:
            broken, self._open = self._open, set()
            broken.add(self._listener)
        for one in broken:
            _end(one)

    def restore(self) -> None:
        """Accept connections again."""
        self._listener = socket.create_server((_HOST, self.port))
        self._listen()

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((_HOST, self._target_port))
                with self._lock:
                    self._open |= {near, far}
                there = {f":{self.port}".encode(): f":{self._target_port}".encode()}
                # An uploaded file's URL names the proxy, and the sandbox knows only its own address.
                there |= {new: old for old, new in self.replaced.items()}
                for source, sink, replaced in ((near, far, there), (far, near, self.replaced)):
                    threading.Thread(target=self._carry, args=(source, sink, replaced), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, replaced: Mapping[bytes, bytes]) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                for old, new in replaced.items():
                    chunk = chunk.replace(old, new)
                sink.sendall(chunk)
        for one in (source, sink):
            _end(one)
        with self._lock:
            self._open -= {source, sink}


@contextlib.contextmanager
def open_proxies(api_port: int, files_port: int) -> Iterator[tuple[Proxy, Proxy]]:
    """Open proxies to both origins of a sandbox; they are cut at the end."""
    api, files = Proxy(api_port), Proxy(files_port)
    api.replaced[f":{files_port}".encode()] = f":{files.port}".encode()
    try:
        yield api, files
    finally:
        api.cut()
        files.cut()


def _listen_like(port: int) -> socket.socket:
    """Listen at a free port of as many digits, so that replacing the port changes no announced length."""
    while True:
        listener = socket.create_server((_HOST, 0))
        if len(str(listener.getsockname()[1])) == len(str(port)):
            return listener
        listener.close()


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
