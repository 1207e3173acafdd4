"""The contract for files that people upload to a server, as inputs of runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file that a person may upload once, or has uploaded."""

    id: str
    """Names the file as an argument, and its ticket."""
    owner: str
    requested_at: float
    expires_at: float
    """Until when it may be uploaded; once it was received, until when it is kept."""
    purpose: str = ""
    """What is asked for, as one cleaned line for the person."""
    received_at: float | None = None
    """None until the file is whole and on disk."""
    file_name: str = ""
    """Its name in the folder of its owner; empty until it was received."""
    mime_type: str = ""
    size_bytes: int = 0
    sha256: str = ""
    """In hexadecimal."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The file is on record and may be used."""

    file: ReceivedFile


@dataclass(frozen=True, slots=True)
class TicketUsed:
    """The ticket was used before, has expired, or was never given out."""


@dataclass(frozen=True, slots=True)
class QuotaExceeded:
    """The files of the owner would occupy more than they may; nothing was recorded."""

    used_bytes: int
    """What the owner's files occupy without this one."""


ReceiveOutcome: TypeAlias = Kept | TicketUsed | QuotaExceeded


class ReceivedFileStore(Protocol):
    """Files that people upload to a server, and how much the files of each occupy."""

    async def request_file(self, file: ReceivedFile, *, max_open: int) -> bool:
        """Record that a file may be uploaded once; false when its id was given out before.

        Unused tickets that have expired by the instant of this request are removed, and so are the oldest of the owner
        above `max_open`.
        """

    async def find_file(self, file_id: str, *, owner: str | None) -> ReceivedFile | None:
        """Return a file, received or not; None if the owner has none of this id.

        Args:
            owner: None for a file of any owner, for which the caller must hold other proof.
        """

    async def keep_file(self, file: ReceivedFile, *, max_bytes: int) -> ReceiveOutcome:
        """Record a file that was received, unless its ticket was used; of several callers one gets `Kept`.

        Args:
            file: What was received; its owner and purpose are those of the ticket, whatever they say here.
            max_bytes: What all files of the owner may occupy with this one, saved results included.
        """

    async def get_file_use(self, *, owner: str) -> int:
        """Return the bytes of an owner's received files and saved results."""

    async def get_expired_files(self, *, now: float) -> tuple[ReceivedFile, ...]:
        """Return the received files of all owners that are kept no longer."""

    async def forget_files(self, file_ids: Sequence[str]) -> None:
        """Remove files from the record."""
