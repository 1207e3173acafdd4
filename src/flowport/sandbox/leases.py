"""Who still needs a sandbox that several programs share: each holds a connection, and the last to let go ends it.

The system closes a program's connection however the program ends, so nothing is left running behind a killed one. All
of this is on threads of its own, so that it works while the event loop is busy.
"""

import hmac
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

GRANTED: Final = b"ok\n"
OTHERS_REMAIN: Final = b"others\n"
"""Told to a program that lets go while others do not."""

_HANDSHAKE_SECONDS: Final = 5.0
_MAX_KEY_BYTES: Final = 200


class Leases:
    """Counts the programs that hold a connection."""

    def __init__(self, key: str, on_end: Callable[[], None]) -> None:
        """Listen; a program must say the key. `on_end` is called on some thread, once, and ends the process."""
        self._key = key.encode()
        self._on_end = on_end
        self._lock = threading.Lock()
        self._count = 0
        self._was_leased = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def note_parent_gone(self) -> None:
        """End the process unless some program holds a connection: the one that started it may never have come so far."""
        with self._lock:
            is_unwanted = not self._was_leased
        if is_unwanted:
            self._on_end()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._hold, args=(connection,), daemon=True).start()

    def _hold(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(_HANDSHAKE_SECONDS)
            if not hmac.compare_digest(_read_line(connection), self._key):
                return
            with self._lock:
                self._count += 1
                self._was_leased = True
            try:
                connection.settimeout(None)
                connection.sendall(GRANTED)
                while connection.recv(1024):
                    pass
            except OSError:
                pass  # a program that was killed
            with self._lock:
                self._count -= 1
                is_last = not self._count
            if is_last:
                self._on_end()
            connection.sendall(OTHERS_REMAIN)


def _read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) <= _MAX_KEY_BYTES:
        part = connection.recv(1024)
        if not part:
            break
        line += part
    return line.removesuffix(b"\n")
