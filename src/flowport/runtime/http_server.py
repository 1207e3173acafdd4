"""Run an ASGI application under uvicorn without its signal handlers. Loads the web server, so import it where it is used."""

import contextlib
from collections.abc import Iterator
from typing import Any

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

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave all signals as they are."""
        yield
