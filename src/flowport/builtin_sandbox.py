"""Run the sandbox as a child process, so that Flowport works without any account.

The child gets a random key on its standard input, says on its standard output where it listens, and ends when that
input closes: with us, however we end.
"""

import json
import logging
import secrets
import sys
from collections.abc import Sequence
from typing import Any, Final

import anyio
import anyio.abc
import anyio.streams.text

from flowport.errors import Breakage, Operation, ProviderUnreachable
from flowport.model import SANDBOX_HOST, Account
from flowport.providers.interface import Provider
from flowport.transport import Location

logger = logging.getLogger(__name__)

CHILD_COMMAND: Final = (sys.executable, "-m", "flowport", "sandbox", "--child")
START_TIMEOUT_SECONDS: Final = 20.0
_START_FAILURES: Final = (OSError, TimeoutError, ValueError, anyio.EndOfStream, anyio.BrokenResourceError)

SANDBOX_ACCOUNT = Account("magnific", SANDBOX_HOST, "builtin")
"""Always the same, although port and key change: its catalogue and its names outlive the child."""


class BuiltInSandbox:
    """The child process. It is started at the first request and again when it has died."""

    def __init__(self, provider: Provider, command: Sequence[str] = CHILD_COMMAND) -> None:
        self._provider = provider
        self._command = command
        self._process: anyio.abc.Process | None = None
        self._location: Location | None = None
        self._lock = anyio.Lock()

    async def locate(self) -> Location:
        """Return where the child listens, starting it if need be.

        Raises:
            ProviderUnreachable: The child does not start.
        """
        if (location := self._get_location()) is not None:
            return location
        async with self._lock:
            # Whoever waited here finds the child that another has started.
            return self._get_location() or await self._start()

    def _get_location(self) -> Location | None:
        """Return where the child listens, None when none is running."""
        is_running = self._process is not None and self._process.returncode is None
        return self._location if is_running else None

    async def aclose(self) -> None:
        """End the child and let go of its pipes."""
        process, self._process = self._process, None
        self._location = None
        await _end(process)

    async def _start(self) -> Location:
        await self.aclose()
        key = secrets.token_urlsafe(24)
        process: anyio.abc.Process | None = None
        try:
            process = await anyio.open_process(self._command, stderr=None)
            with anyio.fail_after(START_TIMEOUT_SECONDS):
                about = await _introduce(process, key)
        except BaseException as exc:
            # A caller that is cancelled meanwhile too must leave no child behind.
            with anyio.CancelScope(shield=True):
                await _end(process)
            if not isinstance(exc, _START_FAILURES):
                raise
            logger.warning("the sandbox does not start (%s)", type(exc).__name__)
            raise ProviderUnreachable(self._provider.title, Operation.LIST_APPS, Breakage.NO_CONNECTION) from exc
        self._process = process
        headers = self._provider.build_headers(key, "127.0.0.1")
        self._location = Location(about["api_url"], headers, key, is_loopback=True)
        return self._location


async def _end(process: anyio.abc.Process | None) -> None:
    """End a child, if there is one, and let go of its pipes."""
    if process is not None:
        if process.returncode is None:
            process.terminate()
        await process.aclose()


async def _introduce(process: anyio.abc.Process, key: str) -> dict[str, Any]:
    """Tell the child its key and return what it says of itself."""
    if process.stdin is None or process.stdout is None:
        raise OSError("the child has no pipes")
    await process.stdin.send(f"{key}\n".encode())
    line = ""
    async for text in anyio.streams.text.TextReceiveStream(process.stdout):
        line += text
        if "\n" in line:
            about = json.loads(line)
            if isinstance(about, dict) and isinstance(about.get("api_url"), str):
                return about
            break
    raise ValueError("the child does not say where it listens")
