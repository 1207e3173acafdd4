"""What is fetched, on its way to where it goes: gathered in the event loop, written on threads."""

import hashlib
from dataclasses import dataclass
from typing import BinaryIO, Final, Generic, Protocol, TypeVar

import anyio
import anyio.to_thread

from flowport.faultpoints import FaultPoint, reach

HEAD_BYTES: Final = 4096
"""How much of the beginning is handed back, to tell the type by."""

GROUP_BYTES: Final = 512 * 1024
"""Pieces are gathered up to so many before a thread takes them: to ask one costs more than to write a small picture."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched, once it is whole."""

    size_bytes: int
    content_type: str
    """What the server called it, in lower case without parameters; its word and no more. Empty when it said nothing."""
    head: bytes
    """The first `HEAD_BYTES` bytes."""
    sha256: str
    """Of the whole, in hexadecimal."""


class Receiver(Protocol[T_co]):
    """Takes what is fetched. It is called on threads, one call after the other."""

    def write(self, piece: bytes, /) -> object:
        """Take the next piece; an OSError ends the fetch."""
        ...

    def finish(self, fetched: Fetched, /) -> T_co:
        """Return what the fetch is to return; called once, on the thread of the last `write`, when all of it came."""
        ...


class FileReceiver:
    """Writes to a file that is open already."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, piece: bytes, /) -> None:
        """Append a piece."""
        self._file.write(piece)

    def finish(self, fetched: Fetched, /) -> Fetched:
        """Return what was fetched; the file stays open."""
        return fetched


class Gathering(Generic[T]):
    """One body that is being received. Mutable; each thread job has the pieces of before to itself."""

    def __init__(self, receiver: Receiver[T], threads: anyio.CapacityLimiter) -> None:
        self._receiver = receiver
        self._threads = threads
        self._digest = hashlib.sha256()
        self._head = b""
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self.size_bytes = 0
        """Of what was added so far."""

    async def add(self, piece: bytes) -> None:
        """Take a piece, and let it be written with those before it once they are enough."""
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        self.size_bytes += len(piece)
        if self._waiting_bytes >= GROUP_BYTES:
            await anyio.to_thread.run_sync(self._write, limiter=self._threads)

    async def finish(self, content_type: str) -> T:
        """Let the rest be written, and return what the receiver makes of it."""
        # Not abandoned when cancelled: a file that is half written must be closed and removed by who writes it.
        return await anyio.to_thread.run_sync(self._finish, content_type, limiter=self._threads)

    def _write(self) -> None:
        for piece in self._pieces:
            self._digest.update(piece)
            self._head += piece[: HEAD_BYTES - len(self._head)]
            self._receiver.write(piece)
        self._pieces.clear()
        self._waiting_bytes = 0
        reach(FaultPoint.WHILE_DOWNLOADING)

    def _finish(self, content_type: str) -> T:
        self._write()
        return self._receiver.finish(Fetched(self.size_bytes, content_type, self._head, self._digest.hexdigest()))
