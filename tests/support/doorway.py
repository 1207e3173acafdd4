"""A public address of a test: a port that is known before the server behind it listens, and stays when that is replaced."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

_CHUNK_BYTES = 65_536
_HOST = "127.0.0.1"


class Doorway:
    """Forwards connections to the server of the moment."""

    def __init__(self) -> None:
        self._listener = socket.create_server((_HOST, 0), backlog=1024)
        self._target: int | None = None
        self.url = f"http://{_HOST}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, url: str | None) -> None:
        """Forward to another server from now on; None for none."""
        self._target = None if url is None else urlsplit(url).port

    def close(self) -> None:
        """Accept no more connections."""
        # A blocked accept is woken by the first only.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        target = self._target
        try:
            if target is None:
                raise ConnectionRefusedError
            far = socket.create_connection((_HOST, target))
        except OSError:
            _end(near)
            return
        threading.Thread(target=_carry, args=(near, far), daemon=True).start()
        _carry(far, near)


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            sink.sendall(chunk)
    for one in (source, sink):
        _end(one)


@contextlib.contextmanager
def open_doorway() -> Iterator[Doorway]:
    """Open a doorway that leads nowhere yet."""
    doorway = Doorway()
    try:
        yield doorway
    finally:
        doorway.close()


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
