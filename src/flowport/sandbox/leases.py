"""The programs that share a sandbox: each holds a connection, and the end of the last one ends the process.

The system closes a program's connection however the program ends. All of this is on threads of its own, so that it works
while the event loop is busy. A program may send a line with a JSON list of the runs that it still needs: older ones go.
"""

import hmac
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

GRANTED: Final = b"ok\n"
OTHERS_REMAIN: Final = b"others\n"  # sent to a program that leaves while others remain

_HANDSHAKE_SECONDS: Final = 5.0
_MAX_LINE_BYTES: Final = 1_000_000


class Leases:
    """Counts the programs that hold a connection."""

    def __init__(self, key: str, on_end: Callable[[], None], on_tidy: Callable[[list[str]], object]) -> None:
        """Listen; a program must send the key.

        Args:
            key: The first line of each connection.
            on_end: Called once, on some thread; it ends the process.
            on_tidy: Called on some thread with the runs that a program still needs.
        """
        self._key = key.encode()
        self._on_end = on_end
        self._on_tidy = on_tidy
        self._lock = threading.Lock()
        self._count = 0
        self._was_leased = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def note_parent_gone(self) -> None:
        """End the process unless a program has held a connection: the one that started it may have died before."""
        with self._lock:
            is_unwanted = not self._was_leased
        if is_unwanted:
            self._on_end()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._hold, args=(connection,), daemon=True).start()

    def _hold(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as lines:
            connection.settimeout(_HANDSHAKE_SECONDS)
            if not hmac.compare_digest(lines.readline(_MAX_LINE_BYTES).rstrip(b"\n"), self._key):
                return
            with self._lock:
                self._count += 1
                self._was_leased = True
            try:
                connection.settimeout(None)
                connection.sendall(GRANTED)
                while line := lines.readline(_MAX_LINE_BYTES):
                    self._on_tidy([str(run_id) for run_id in json.loads(line)])
                    connection.sendall(GRANTED)
            except (OSError, ValueError, TypeError):
                pass  # a program that was killed, or sent something else
            with self._lock:
                self._count -= 1
                is_last = not self._count
            if is_last:
                self._on_end()
            connection.sendall(OTHERS_REMAIN)
