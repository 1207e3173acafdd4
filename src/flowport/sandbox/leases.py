"""The programs that share a sandbox: each holds a connection, and the end of the last one ends the process.

A program may send a line with a JSON list of the runs that it still needs: older ones are then forgotten.
"""

import asyncio
import hmac
import json
import socket
from collections.abc import Callable, Collection
from typing import Final

GRANTED: Final = b"ok\n"
OTHERS_REMAIN: Final = b"others\n"  # sent to a program that leaves while others remain
HANDSHAKE_SECONDS: Final = 5.0
MAX_LINE_BYTES: Final = 1_000_000


class Leases:
    """Counts the programs that hold a connection."""

    def __init__(self, key: str, on_end: Callable[[], None]) -> None:
        """Listen. A program must send the key first; `on_end` ends the process."""
        self._key = key.encode()
        self._on_end = on_end
        self._on_tidy: Callable[[Collection[str]], object] = list
        self._count, self._was_leased = 0, False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.listener.getsockname()[1]

    async def serve(self, on_tidy: Callable[[Collection[str]], object]) -> None:
        """Accept programs until cancelled; `on_tidy` gets the runs that one still needs."""
        self._on_tidy = on_tidy
        server = await asyncio.start_server(self._hold, sock=self.listener, limit=MAX_LINE_BYTES)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()

    def note_parent_gone(self) -> None:
        """End the process unless a program has held a connection: the one that started it may have died before."""
        if not self._was_leased:
            self._on_end()

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), HANDSHAKE_SECONDS)
            if hmac.compare_digest(line.rstrip(b"\n"), self._key):
                self._count += 1
                self._was_leased = True
                await self._listen(reader, writer)
                self._count -= 1
                if not self._count:
                    self._on_end()
                writer.write(OTHERS_REMAIN)
        except (OSError, ValueError, TimeoutError):
            pass  # a program that was killed, or another one that found the port
        finally:
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(GRANTED)
            while line := await reader.readline():
                self._on_tidy([str(run_id) for run_id in json.loads(line)])
                writer.write(GRANTED)
        except (OSError, ValueError, TypeError):
            pass  # a program that was killed, or sent something else
