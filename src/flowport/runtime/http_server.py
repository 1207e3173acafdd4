"""Run an ASGI application under uvicorn without its signal handlers. Loads the web server, so import it where it is used."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import anyio
import uvicorn


class HttpServer(uvicorn.Server):
    """Uvicorn without its signal handlers, which belong to the command line, and without logs and headers of its own."""

    def __init__(self, app: Any, *, log_level: int, **options: Any) -> None:
        """Prepare; nothing is served yet. An end does not wait for open requests."""
        config = uvicorn.Config(
            app,
            ws="none",
            # What is called need not be a coroutine function, by which it would be guessed.
            interface="asgi3",
            log_config=None,
            log_level=log_level,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=0,
            **options,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start. A cancellation waits until the listeners that the event loop reads are known here."""
        with anyio.CancelScope(shield=True):
            await super().startup(sockets)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the end. After a cancellation too, the event loop reads the listeners no more.

        Otherwise their owner would close sockets that the loop waits for. It keeps its callbacks by file number, so the
        next listener with that number would accept nothing (python/cpython#88968).
        """
        try:
            await super().serve(sockets)
        finally:
            for server in getattr(self, "servers", ()):
                server.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave all signals as they are."""
        yield
