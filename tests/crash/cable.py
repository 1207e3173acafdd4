"""The network between Flowport and a sandbox, which can be cut and mended."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping

_CHUNK_BYTES = 65_536
_HOST = "127.0.0.1"


class Cable:
    """One port of this machine that leads to another; while it is cut, connecting is refused."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.replaced: dict[bytes, bytes] = {}
        """What is put in the place of what, on its way back: a client must find the files by cable too."""
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = _listen_like(target_port)
        self.port: int = self._listener.getsockname()[1]
        self._listen()

    def cut(self) -> None:
        """Let nothing through and nobody in, and break off what is open."""
        with self._lock:
            broken, self._open = self._open, set()
            broken.add(self._listener)
        for one in broken:
            _end(one)

    def mend(self) -> None:
        """Let everybody in again."""
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
def open_cables(api_port: int, files_port: int) -> Iterator[tuple[Cable, Cable]]:
    """Lay cables to both origins of a sandbox; they are cut in the end."""
    api, files = Cable(api_port), Cable(files_port)
    api.replaced[f":{files_port}".encode()] = f":{files.port}".encode()
    try:
        yield api, files
    finally:
        api.cut()
        files.cut()


def _listen_like(port: int) -> socket.socket:
    """Listen at a free port of as many digits, so that no announced length changes when one replaces the other."""
    while True:
        listener = socket.create_server((_HOST, 0))
        if len(str(listener.getsockname()[1])) == len(str(port)):
            return listener
        listener.close()


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
