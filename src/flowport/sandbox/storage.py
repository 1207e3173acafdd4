"""Where a sandbox keeps what must outlive its process: records in a journal, file contents beside it, or nothing at all.

Layout of a folder: `journal.jsonl`, whose first line says format, version and secret and whose other lines are records,
the last line of a record wins; `blobs/`, one file per content, named by its SHA-256. A record names its blobs, so that
what no record needs can be removed. A write is one appended line or one renamed file: a process that is killed leaves
at worst half a last line, which is dropped. Nothing is synced to the disk: what a power cut takes is play money.
"""

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from flowport.runtime.file_systems import replace_file

_LOG = logging.getLogger(__name__)

FORMAT: Final = "flowport-sandbox"
VERSION: Final = 1
JOURNAL_NAME: Final = "journal.jsonl"
BLOBS_NAME: Final = "blobs"

MAX_SCAN_BYTES: Final = 32 * 1024**2
"""Of all journals that were set aside together. Beyond it no content is removed."""
SCAN_BYTES: Final = 1024**2
"""How much of them is in memory at once."""
_DIGEST: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")

_SPARE_LINES: Final = 200
"""Lines of replaced records that a journal may hold before it is rewritten."""

Fields: TypeAlias = dict[str, Any]


class Blob(Protocol):
    """The content of a file, wherever it is."""

    @property
    def size_bytes(self) -> int:
        """Its length."""
        ...

    def read(self) -> bytes:
        """Return the content; raises `OSError` when it is no longer there."""
        ...


@dataclass(frozen=True, slots=True)
class HeldBlob:
    """A content in memory."""

    data: bytes = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return len(self.data)

    def read(self) -> bytes:
        """Return the content."""
        return self.data


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A content on the disk."""

    folder: Path = field(repr=False)
    sha256: str
    size_bytes: int

    def read(self) -> bytes:
        """Return the content; raises `OSError` when it is no longer there."""
        return (self.folder / self.sha256).read_bytes()


class Storage(Protocol):
    """What the parts of a sandbox write through."""

    def derive_secret(self, purpose: str) -> bytes:
        """Return the secret for a purpose; the same one as long as the storage lives."""
        ...

    def load(self, kind: str) -> Mapping[str, Fields]:
        """Return the records of a kind by id, the oldest first."""
        ...

    def put(self, kind: str, record_id: str, fields: Fields, blobs: Iterable[Blob] = ()) -> None:
        """Write a record in place of the one with this id, if there is one; raises `OSError`."""
        ...

    def remove(self, kind: str, record_id: str) -> None:
        """Forget a record; raises `OSError`."""
        ...

    def keep(self, data: bytes) -> Blob:
        """Keep a content; a record that names it must be put before anything else is awaited. Raises `OSError`."""
        ...

    def open_blob(self, sha256: str, size_bytes: int) -> Blob:
        """Return a content that a loaded record names."""
        ...

    def compact(self) -> None:
        """Remove what no record needs."""
        ...

    def clear(self) -> None:
        """Forget everything but the secret."""
        ...


class MemoryStorage:
    """Keeps nothing beyond the process."""

    def __init__(self) -> None:
        """Begin with a secret of its own."""
        self._secret = secrets.token_bytes(32)

    def derive_secret(self, purpose: str) -> bytes:
        """Return the secret for a purpose."""
        return _derive(self._secret, purpose)

    def load(self, kind: str) -> Mapping[str, Fields]:  # noqa: ARG002 - nothing is kept
        """Return no record."""
        return {}

    def put(self, kind: str, record_id: str, fields: Fields, blobs: Iterable[Blob] = ()) -> None:
        """Write nothing."""

    def remove(self, kind: str, record_id: str) -> None:
        """Forget nothing: nothing is kept."""

    def keep(self, data: bytes) -> Blob:
        """Return the content itself."""
        return HeldBlob(data)

    def open_blob(self, sha256: str, size_bytes: int) -> Blob:
        """Return nothing: no record names a content."""
        raise NotImplementedError(f"no blob {sha256} of {size_bytes} bytes is kept in memory")

    def compact(self) -> None:
        """Remove nothing."""

    def clear(self) -> None:
        """Forget nothing: the parts forget by themselves."""


class FolderStorage:
    """Keeps records and contents in a folder. One process at a time may open it."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, which is made if it is missing, and read its records.

        A journal that is damaged or of a newer version is renamed, never deleted; `problem` then says so once.

        Raises:
            OSError: The folder cannot be read or written.
        """
        self._path = folder / JOURNAL_NAME
        self._blobs = folder / BLOBS_NAME
        self.problem = ""
        self._scan = _Scan()
        self._blobs.mkdir(parents=True, exist_ok=True, mode=0o700)
        journal = _read(self._path)
        self._records: dict[tuple[str, str], Fields] = journal.records
        self._secret = journal.secret or secrets.token_bytes(32)
        if journal.fault:
            kept_as = _set_aside(self._path)
            self.problem = f"the sandbox's stored state {journal.fault}; it was kept as {kept_as.name}"
        has_spare_lines = journal.lines > 2 * len(self._records) + _SPARE_LINES
        # After half a line another must not be appended.
        if journal.is_new or journal.fault or journal.has_torn_end or has_spare_lines:
            self._rewrite()
        else:
            self._lines = journal.lines

    def derive_secret(self, purpose: str) -> bytes:
        """Return the secret for a purpose."""
        return _derive(self._secret, purpose)

    def load(self, kind: str) -> Mapping[str, Fields]:
        """Return the records of a kind by id, the oldest first."""
        return {record_id: fields for (one, record_id), fields in self._records.items() if one == kind}

    def put(self, kind: str, record_id: str, fields: Fields, blobs: Iterable[Blob] = ()) -> None:
        """Write a record in place of the one with this id, if there is one; raises `OSError`."""
        named = [blob.sha256 for blob in blobs if isinstance(blob, StoredBlob)]
        record = {**fields, "blobs": named} if named else fields
        self._append({"kind": kind, "id": record_id, "fields": record})
        self._records[kind, record_id] = record

    def remove(self, kind: str, record_id: str) -> None:
        """Forget a record; raises `OSError`."""
        if (kind, record_id) in self._records:
            self._append({"kind": kind, "id": record_id, "fields": None})
            del self._records[kind, record_id]

    def keep(self, data: bytes) -> Blob:
        """Keep a content under its digest; raises `OSError`."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._blobs / sha256
        if not _is_whole(path, len(data)):
            write_private(path, data)
        return StoredBlob(self._blobs, sha256, len(data))

    def open_blob(self, sha256: str, size_bytes: int) -> Blob:
        """Return a content that a loaded record names."""
        return StoredBlob(self._blobs, sha256, size_bytes)

    def compact(self) -> None:
        """Rewrite the journal without what was replaced, and remove the contents that no record names.

        A journal that was set aside still counts: another version may read it.
        """
        if self._lines > len(self._records):
            self._rewrite()
        needed = {sha256 for fields in self._records.values() for sha256 in fields.get("blobs", ())}
        spare = {path.name: path for path in self._blobs.iterdir() if path.name not in needed}
        if spare and self._refresh_scan():
            for name in spare.keys() - self._scan.names:
                spare[name].unlink(missing_ok=True)

    def _refresh_scan(self) -> bool:
        """Read again which contents the journals that were set aside name, if they have changed; False if that is unknown."""
        try:
            paths = sorted(self._path.parent.glob(f"{self._path.stem}.unreadable-*{self._path.suffix}"))
            stats = [path.stat() for path in paths]
            files = tuple((path.name, one.st_size, one.st_mtime_ns) for path, one in zip(paths, stats, strict=True))
            if files != self._scan.files:
                is_small = sum(one.st_size for one in stats) <= MAX_SCAN_BYTES
                names = frozenset[str]().union(*map(_scan_digests, paths)) if is_small else frozenset[str]()
                self._scan = _Scan(files, names, is_known=is_small)
        except OSError as exc:
            _LOG.warning("The sandbox removes no content, because a journal was not read: %s", exc.strerror)
            return False
        return self._scan.is_known

    def clear(self) -> None:
        """Forget everything but the secret."""
        self._records.clear()
        self.compact()

    def _append(self, line: Fields) -> None:
        data = memoryview(_encode(line))
        # Opened each time: a file that is open cannot be replaced on every system.
        with self._path.open("ab", buffering=0) as file:
            end = os.fstat(file.fileno()).st_size
            try:
                while data:
                    data = data[file.write(data) :]
            except OSError:
                # A full disk may have taken half of the line, which would spoil the next one.
                with suppress(OSError):
                    file.truncate(end)
                raise
        self._lines += 1

    def _rewrite(self) -> None:
        header = {"format": FORMAT, "version": VERSION, "secret": self._secret.hex()}
        lines: list[Fields] = [header]
        lines += [{"kind": k, "id": i, "fields": fields} for (k, i), fields in self._records.items()]
        write_private(self._path, b"".join(map(_encode, lines)))
        self._lines = len(self._records)


@dataclass(frozen=True, slots=True)
class _Scan:
    """What the journals that were set aside name."""

    files: tuple[tuple[str, int, int], ...] = ()
    """Name, size and time of change of each."""
    names: frozenset[str] = frozenset()
    is_known: bool = True
    """False when they are too large to be read."""


def _scan_digests(path: Path) -> frozenset[str]:
    """Return whatever in a file may be the name of a content; its format may be unknown. Raises `OSError`."""
    names, rest = set[str](), b""
    with path.open("rb") as file:
        while piece := file.read(SCAN_BYTES):
            text = rest + piece
            names.update(found[0].decode("ascii") for found in _DIGEST.finditer(text))
            # A name may lie across two pieces.
            rest = text[-64:]
    return frozenset(names)


@dataclass(slots=True)
class _Journal:
    """What was read of a journal."""

    records: dict[tuple[str, str], Fields] = field(default_factory=dict)
    secret: bytes = b""
    lines: int = 0
    fault: str = ""
    """The end of a sentence; empty when everything could be read."""
    is_new: bool = False
    has_torn_end: bool = False


def _read(path: Path) -> _Journal:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _Journal(is_new=True)
    if not data:
        return _Journal(is_new=True)
    first, *others = data.split(b"\n")
    header = _parse(first)
    if header is None or header.get("format") != FORMAT:
        return _Journal(fault="is damaged")
    version = header.get("version")
    if version != VERSION:
        return _Journal(fault=f"is of version {version!r}, and this Flowport reads version {VERSION}")
    journal = _Journal(secret=_parse_secret(header.get("secret")))
    if not journal.secret:
        journal.fault = "is damaged"
    # What follows the last line feed is half a line of a process that was killed while it wrote.
    *whole, rest = others or [b""]
    journal.has_torn_end, journal.lines = bool(rest), len(whole)
    for line in whole:
        if not _apply(journal.records, _parse(line)):
            journal.fault = "is damaged in part"
    return journal


def _apply(records: dict[tuple[str, str], Fields], line: Fields | None) -> bool:
    """Apply one line; False when it is no record."""
    match line:
        case {"kind": str(kind), "id": str(record_id), "fields": None}:
            records.pop((kind, record_id), None)
        case {"kind": str(kind), "id": str(record_id), "fields": dict(fields)}:
            # A record keeps its place in the order.
            records[kind, record_id] = fields
        case _:
            return False
    return True


def _parse(line: bytes) -> Fields | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _parse_secret(value: Any) -> bytes:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return b""


def _encode(line: Fields) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _set_aside(path: Path) -> Path:
    """Rename a journal that cannot be used; an earlier one that was set aside is not replaced."""
    for n in range(1, 1000):
        target = path.with_name(f"{path.stem}.unreadable-{n}{path.suffix}")
        if not target.exists():
            path.rename(target)
            return target
    raise OSError(f"{path} was set aside too often")


def write_private(path: Path, data: bytes) -> None:
    """Write a file whole, or not at all; nobody else on this computer may read it. Raises `OSError`."""
    temporary = path.with_name(f"{path.name}.new")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        replace_file(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _is_whole(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False


def _derive(secret: bytes, purpose: str) -> bytes:
    return hmac.new(secret, purpose.encode(), hashlib.sha256).digest()
