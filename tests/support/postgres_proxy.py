"""A proxy before PostgreSQL that cuts a connection at an exact point of the conversation."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.postgres import PostgresServer

SOCKET_NAME: Final = ".s.PGSQL.5432"
COMMIT_REQUEST: Final = b"COMMIT\0"
"""What a client sends to parse or execute the statement."""
COMMIT_ANSWER: Final = b"COMMIT\0"
"""How the server names what it has completed."""


@dataclass
class CuttingProxy:
    """The conversations of one test."""

    folder: Path
    server: PostgresServer
    cuts_before: int = 0
    """How many requests (commits, unless another is named) are still to be lost on their way to the server."""
    cuts_after: int = 0
    """How many answers to commits are still to be lost on their way back."""
    cut: int = 0
    """How many connections were cut."""
    request: bytes = COMMIT_REQUEST
    """Part of the request that is lost."""
    answer: bytes = COMMIT_ANSWER
    """Part of the answer that is lost."""
    tasks: set["asyncio.Task[object]"] = field(default_factory=set)
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while connections are passed on; without it a new one waits."""

    def __post_init__(self) -> None:
        self.is_open.set()

    def cut_all(self) -> None:
        """Lose every connection; the server goes on with what it has received."""
        for task in self.tasks:
            task.cancel()

    def get_url(self, database: str) -> str:
        """Return the address of a database behind this proxy."""
        return f"postgresql://flowport@/{database}?host={self.folder}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        if sys.platform == "win32":
            raise OSError
        await self.is_open.wait()
        there, back = await asyncio.open_unix_connection(self.server.folder / SOCKET_NAME)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.pass_on(reader, back, is_request=True))
                group.create_task(self.pass_on(there, writer, is_request=False))
        except* (ConnectionError, EOFError, asyncio.CancelledError):
            # Cut, closed, or the end of the test.
            pass
        finally:
            for one in (writer, back):
                one.transport.abort()

    async def pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_request: bool) -> None:
        """Pass on one direction, until it ends or is cut."""
        while data := await source.read(65_536):
            if is_request and self.cuts_before and self.request in data:
                self.cuts_before -= 1
                break
            if not is_request and self.cuts_after and self.answer in data:
                self.cuts_after -= 1
                break
            target.write(data)
            await target.drain()
        else:
            raise EOFError
        self.cut += 1
        raise ConnectionResetError


@asynccontextmanager
async def open_proxy(server: PostgresServer, folder: Path) -> AsyncIterator[CuttingProxy]:
    """Start a proxy, reached by a socket in a folder."""
    proxy = CuttingProxy(folder, server)
    if sys.platform == "win32":
        raise OSError
    listener = await asyncio.start_unix_server(proxy.serve, folder / SOCKET_NAME)
    try:
        yield proxy
    finally:
        listener.close()
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)
