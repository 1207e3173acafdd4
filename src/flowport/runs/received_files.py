"""Files that people upload to this server: tickets that work once, safe writing, checks, a quota, and expiry.

A file is written under a temporary name, checked like any other input, and published whole; then the store decides, in one
transaction, whether its ticket was unused and the owner's quota has room. A crash in between leaves a file without a record,
which the next sweep removes.
"""

import logging
import re
import secrets
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias, TypeVar

import anyio
import anyio.to_thread

from flowport.domain.call_errors import FilesFull, build_refusal
from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid, StoreError
from flowport.domain.models import InputKind
from flowport.domain.text import clean_line
from flowport.domain.uris import parse_upload_name
from flowport.media.formats import FORMATS
from flowport.media.identify import identify
from flowport.media.input_files import MediaRules, examine_open
from flowport.media.saving import PartialFile, build_owner_folder, open_partial
from flowport.media.sources import DiskSource, Fingerprint, compute_fingerprint
from flowport.runs.batch.csv_tables import MAX_TABLE_BYTES, parse_table
from flowport.runs.file_links import FileLinks
from flowport.runtime.clock import Clock
from flowport.store.interface import Store, Workers
from flowport.store.received_files import Kept, QuotaExceeded, ReceivedFile, ReceiveOutcome, TicketUsed

logger = logging.getLogger(__name__)

UPLOADS_NAME: Final = "uploads"
"""The folder in FLOWPORT_HOME."""

MAX_FILE_BYTES: Final = 100_000_000
"""The largest file that may be uploaded: the largest picture that an app is sent."""

TICKET_SECONDS: Final = 3600.0
"""How long a person has to upload a file."""

KEPT_SECONDS: Final = 7 * 24 * 3600.0
"""How long an uploaded file may be used."""

MAX_TICKETS: Final = 20
"""Unused tickets of one owner."""

_SWEEP_SECONDS: Final = 3600.0
_ABANDONED_SECONDS: Final = 24 * 3600.0
"""How old a file without a record must be to be removed: another process may be about to record it."""

_PIECE_BYTES: Final = 1024**2
_MAX_PURPOSE: Final = 120
_ID_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_ID_LENGTH: Final = 12
"""Sixty bits; without its signature a ticket is refused all the same."""

_NAME: Final = re.compile(r"([a-z0-9]{8,20})(?:-\d+)?\.[a-z0-9]{1,10}")
_PARTIAL: Final = re.compile(r"\.([0-9a-f]{16})\.[0-9a-f]{8}(?:\.part)+$")
_FILE: Final = "file"
_RULES: Final = MediaRules(
    roots=(),
    max_inline_bytes=MAX_FILE_BYTES,
    max_file_bytes=MAX_FILE_BYTES,
    # What some provider takes as it stands needs no room for a conversion; the account that it is sent to decides later.
    upload_types=frozenset(one.mime_type for one in FORMATS.values() if one.is_sent),
    max_upload_bytes=MAX_FILE_BYTES,
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The file is larger than any that may be uploaded."""

    max_bytes: int = MAX_FILE_BYTES


@dataclass(frozen=True, slots=True)
class Unfit:
    """The file is empty, damaged, or nothing that an app takes; nothing was kept."""

    problem: str
    """A sentence for the person, which says what to give instead."""


@dataclass(frozen=True, slots=True)
class InUse:
    """Another upload with the same ticket has not ended."""


UploadOutcome: TypeAlias = ReceiveOutcome | TooLarge | Unfit | InUse


@dataclass(frozen=True, slots=True)
class _Examined:
    """What a received file is."""

    mime_type: str
    extension: str
    fingerprint: Fingerprint


def _examine(file: BinaryIO) -> _Examined:
    """Return what a received file is: something that an app takes, or a table.

    Raises:
        ArgumentsInvalid: It is neither.
    """
    try:
        sniffed, fingerprint = examine_open(file, argument=_FILE, kind=InputKind.MEDIA, rules=_RULES)
    except ArgumentsInvalid:
        if identify(file) not in {None, FORMATS["txt"]}:
            raise
        fingerprint = compute_fingerprint(file, argument=_FILE, max_bytes=MAX_TABLE_BYTES)
        try:
            parse_table(file.read(), argument=_FILE)
        except ArgumentsInvalid:
            raise build_refusal(_FILE, _NOTHING_KNOWN, "Give such a file, in a usual format.") from None
        return _Examined("text/csv", "csv", fingerprint)
    return _Examined(sniffed.mime_type, sniffed.extension, fingerprint)


_NOTHING_KNOWN: Final = "names something that is not an image, a video, a sound or a table (CSV)"
_SUBJECTS: Final = (
    ("names something that is not an image, a video or a sound", "is not an image, a video, a sound or a CSV table"),
    ("names something that ", ""),
    ("names an empty file", "is empty"),
    ("names ", "is "),
)


def _format_problem(problem: ArgumentProblem) -> str:
    """Return what is wrong with the file as a sentence for the person who sends it."""
    words = problem.problem
    for beginning, instead in _SUBJECTS:
        if words.startswith(beginning):
            words = instead + words.removeprefix(beginning)
            break
    return f"The file {words}." + (f" {problem.expected}" if problem.expected else "")


class ReceivedFiles:
    """The uploaded files of all owners."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        home: Path,
        threads: anyio.CapacityLimiter,
        links: FileLinks,
        *,
        max_owner_bytes: int,
        process: Workers,
    ) -> None:
        """Prepare.

        Args:
            home: Where the folder of uploads is, with a folder for each owner in it.
            max_owner_bytes: What the uploads and saved results of one owner may occupy.
            process: Its id is in the names of files that are not whole yet.
        """
        self._store = store
        self._clock = clock
        self._folder = home / UPLOADS_NAME
        self._threads = threads
        self._links = links
        self._max_owner_bytes = max_owner_bytes
        self._process = process
        self._receiving: dict[str, tuple[str, int]] = {}
        """By ticket, while its upload is under way: the owner, and the bytes that came."""

    async def request(self, owner: str, purpose: str) -> ReceivedFile:
        """Return a ticket for one upload of an owner.

        Raises:
            FilesFull: The owner's files leave no room.
            StoreError: The store cannot be written.
        """
        await self.check_room(owner)
        now = self._clock.now()
        while True:
            file_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
            ticket = ReceivedFile(file_id, owner, now, now + TICKET_SECONDS, clean_line(purpose, limit=_MAX_PURPOSE))
            if await self._store.request_file(ticket, max_open=MAX_TICKETS):
                return ticket

    async def check_room(self, owner: str) -> None:
        """Check that an owner's files leave room for more.

        Raises:
            FilesFull: They do not.
        """
        used_bytes = await self._store.get_file_use(owner=owner)
        if used_bytes >= self._max_owner_bytes:
            raise FilesFull(used_bytes, self._max_owner_bytes)

    async def find_ticket(self, file_id: str) -> ReceivedFile | None:
        """Return the ticket of this id, used or not, of any owner: its link is signed."""
        return await self._store.find_file(file_id, owner=None)

    def get_path(self, file: ReceivedFile) -> Path:
        """Return where a received file is."""
        return self._get_folder(file.owner) / file.file_name

    async def find_source(self, text: str, *, argument: str, owner: str) -> DiskSource | None:
        """Return the uploaded file that an argument names, or the link by which it was uploaded; None for anything else.

        Raises:
            ArgumentsInvalid: The owner has no such file, or it was not uploaded yet.
            StoreError: The store cannot be read.
        """
        file_id = parse_upload_name(text) or self._links.parse_upload_link(text.strip())
        if not file_id:
            return None
        file = await self._store.find_file(file_id, owner=owner)
        now = self._clock.now()
        if file is None or (file.expires_at <= now and file.received_at is not None):
            problem = f'names an uploaded file that is not there ("{file_id}"); uploads are removed after a week'
            raise build_refusal(argument, problem, "Call request_upload for a new link.")
        if file.received_at is None:
            problem = f'names "upload:{file_id}", to which nothing was uploaded'
            wait = "Ask the person to open the link and choose a file; then make the call again."
            raise build_refusal(
                argument, problem, wait if file.expires_at > now else "Call request_upload for a new link."
            )
        path = self.get_path(file)
        return DiskSource(path, (path.parent,))

    async def receive(self, ticket: ReceivedFile, pieces: AsyncIterable[bytes]) -> UploadOutcome:
        """Write, check and record a file; anything but `Kept` leaves no file, and a ticket that was not used.

        Raises:
            OSError: The file cannot be written.
            StoreError: The store cannot be read or written.
        """
        now = self._clock.now()
        if ticket.received_at is not None or ticket.expires_at <= now:
            return TicketUsed()
        if ticket.id in self._receiving:
            return InUse()
        self._receiving[ticket.id] = ticket.owner, 0
        try:
            used_bytes = await self._store.get_file_use(owner=ticket.owner)
            if used_bytes + self._count_receiving(ticket.owner) >= self._max_owner_bytes:
                return QuotaExceeded(used_bytes)
            final = self._get_folder(ticket.owner) / f"{ticket.id}.part"
            draft = await self._in_thread(partial(open_partial, final, self._process.process_id))
            try:
                return await self._receive(ticket, pieces, draft, used_bytes, now)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._in_thread(draft.discard)
        finally:
            del self._receiving[ticket.id]

    def _count_receiving(self, owner: str) -> int:
        """Return the bytes of an owner's uploads that are under way: they occupy the disk, whatever becomes of them."""
        return sum(size_bytes for whose, size_bytes in self._receiving.values() if whose == owner)

    async def _receive(
        self, ticket: ReceivedFile, pieces: AsyncIterable[bytes], draft: PartialFile, used_bytes: int, now: float
    ) -> UploadOutcome:
        size_bytes, held = 0, bytearray()
        async for piece in pieces:
            size_bytes += len(piece)
            if size_bytes > MAX_FILE_BYTES:
                return TooLarge()
            self._receiving[ticket.id] = ticket.owner, size_bytes
            if used_bytes + self._count_receiving(ticket.owner) > self._max_owner_bytes:
                return QuotaExceeded(used_bytes)
            held += piece
            if len(held) >= _PIECE_BYTES:
                await self._in_thread(partial(draft.file.write, bytes(held)))
                held.clear()
        await self._in_thread(partial(draft.file.write, bytes(held)))
        try:
            found = await self._in_thread(partial(_examine, draft.file))
        except ArgumentsInvalid as exc:
            return Unfit(_format_problem(exc.problems[0]))
        final = self._get_folder(ticket.owner) / f"{ticket.id}.{found.extension}"
        with anyio.CancelScope(shield=True):
            # From here on it is done, also when the sender has left.
            path: Path = await self._in_thread(partial(draft.publish, final))
            received = replace(
                ticket,
                received_at=now,
                expires_at=now + KEPT_SECONDS,
                file_name=path.name,
                mime_type=found.mime_type,
                size_bytes=found.fingerprint.size_bytes,
                sha256=found.fingerprint.sha256,
            )
            outcome = await self._store.keep_file(received, max_bytes=self._max_owner_bytes)
            if not isinstance(outcome, Kept):
                await self._in_thread(partial(path.unlink, missing_ok=True))
        return outcome

    async def keep_sweeping(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Remove expired files, and files without a record, after a wait and then every hour. Never returns."""
        await wait()
        while True:
            try:
                await self.sweep()
            except StoreError as exc:
                logger.info("expired uploads cannot be removed just now: %s", exc)
            await self._clock.sleep(_SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Remove expired files, and files that no record names and that are older than a day."""
        now = self._clock.now()
        for file in await self._store.get_expired_files(now=now):
            if await self._in_thread(partial(_remove, self.get_path(file))):
                await self._store.forget_files([file.id])
        for path in await self._in_thread(partial(_list_files, self._folder)):
            found = _NAME.fullmatch(path.name)
            record = await self._store.find_file(found[1], owner=None) if found else None
            if record is None or record.file_name != path.name:
                await self._in_thread(
                    partial(_remove_abandoned, path, now - _ABANDONED_SECONDS, self._process.has_died)
                )

    def _get_folder(self, owner: str) -> Path:
        return build_owner_folder(self._folder, owner)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


def _list_files(folder: Path) -> list[Path]:
    """Return every file below the folders of owners, and those of the person at this computer."""
    try:
        return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    except OSError as exc:
        logger.info("the folder for uploads cannot be listed: %s", exc.strerror)
        return []


def _remove(path: Path) -> bool:
    """Remove a file; return whether it is gone."""
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        logger.warning("an expired upload could not be removed: %s", exc.strerror)
        return False
    return True


def _remove_abandoned(path: Path, before: float, has_died: Callable[[str], bool]) -> None:
    """Remove a file that no record names, if it is old or its writer has died."""
    found = _PARTIAL.search(path.name)
    try:
        if (found is not None and has_died(found[1])) or path.stat().st_mtime < before:
            path.unlink(missing_ok=True)
    except OSError as exc:
        logger.info("an abandoned upload could not be removed: %s", exc.strerror)
