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
from flowport.model import Account
from flowport.providers.interface import Provider
from flowport.transport import Location

logger = logging.getLogger(__name__)

CHILD_COMMAND: Final = (sys.executable, "-m", "flowport", "sandbox", "--child")
START_TIMEOUT_SECONDS: Final = 20.0

SANDBOX_ACCOUNT = Account("magnific", "sandbox", "builtin")
"""Always the same, although port and key change: its catalogue and its names outlive the child."""


class BuiltInSandbox:
    """The child process. It is started at the first request and again when it has died."""

    def __init__(self, provider: Provider, command: Sequence[str] = CHILD_COMMAND) -> None:
        self._provider = provider
        self._command = command
        self._process: anyio.abc.Process | None = None
        self._location: Location | None = None

    async def locate(self) -> Location:
        """Return where the child listens, starting it if need be.

        Raises:
            ProviderUnreachable: The child does not start.
        """
        if self._process is None or self._process.returncode is not None or self._location is None:
            self._location = await self._start()
        return self._location

    async def aclose(self) -> None:
        """End the child and let go of its pipes."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.terminate()
            await process.aclose()

    async def _start(self) -> Location:
        await self.aclose()
        key = secrets.token_urlsafe(24)
        try:
            self._process = await anyio.open_process(self._command, stderr=None)
            with anyio.fail_after(START_TIMEOUT_SECONDS):
                about = await _introduce(self._process, key)
        except (OSError, TimeoutError, ValueError, anyio.EndOfStream, anyio.BrokenResourceError) as exc:
            logger.warning("the sandbox does not start (%s)", type(exc).__name__)
            await self.aclose()
            title = self._provider.title
            raise ProviderUnreachable(title, Operation.LIST_APPS, Breakage.NO_CONNECTION) from exc
        return Location(about["api_url"], self._provider.build_headers(key, "127.0.0.1"), is_loopback=True)


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
