"""Where the bytes of a file come from when they are needed: the disk, or this process's memory.

A file of this computer is read twice, once before its run is accepted and once when it is sent. In between it may
change, so its digest is taken both times; what is sent is what was checked.
"""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from flowport.domain.call_errors import build_refusal
from flowport.media.local_files import check_size, open_local_file

CHUNK_BYTES: Final = 1024 * 1024
_ANY_SIZE: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class DiskSource:
    """A file of this computer, or one that Flowport saved there."""

    path: Path
    roots: tuple[Path, ...]
    """The folders under which it may lie."""


@dataclass(frozen=True, slots=True)
class HeldSource:
    """Bytes that the argument itself held."""

    data: bytes = field(repr=False)


Source: TypeAlias = DiskSource | HeldSource


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells one file from another."""

    sha256: str
    """In hexadecimal."""
    size_bytes: int


def open_source(source: Source, *, argument: str, max_bytes: int) -> BinaryIO:
    """Return the file, open at its beginning. Blocks on the disk.

    Raises:
        ArgumentsInvalid: It may not or cannot be read, or is empty or larger than `max_bytes`.
    """
    if isinstance(source, HeldSource):
        check_size(len(source.data), argument, max_bytes)
        return io.BytesIO(source.data)
    return open_local_file(source.path, argument=argument, roots=source.roots, max_bytes=max_bytes)


def open_unchanged(source: Source, expected: Fingerprint, *, argument: str) -> BinaryIO:
    """Return the file as it was when its fingerprint was taken.

    Raises:
        ArgumentsInvalid: It cannot be read any more, or is another now.
    """
    file = open_source(source, argument=argument, max_bytes=_ANY_SIZE)
    try:
        _check_unchanged(file, expected, argument)
    except BaseException:
        file.close()
        raise
    return file


def _check_unchanged(file: BinaryIO, expected: Fingerprint, argument: str) -> None:
    if _measure(file, argument, expected.size_bytes) != expected:
        raise build_refusal(argument, "names a file that has changed since the call", "Make the call again.")


def measure(file: BinaryIO, *, argument: str, max_bytes: int) -> Fingerprint:
    """Return the fingerprint of an open file, which is then at its beginning again.

    Raises:
        ArgumentsInvalid: It turned out empty or larger than `max_bytes`, whatever its size said.
    """
    found = _measure(file, argument, max_bytes)
    check_size(found.size_bytes, argument, max_bytes)
    return found


def _measure(file: BinaryIO, argument: str, max_bytes: int) -> Fingerprint:
    """Return the fingerprint of a file, or of somewhat more than so many of its bytes."""
    digest, size_bytes = hashlib.sha256(), 0
    try:
        while size_bytes <= max_bytes and (chunk := file.read(CHUNK_BYTES)):
            digest.update(chunk)
            size_bytes += len(chunk)
        file.seek(0)
    except OSError as exc:
        problem = f"names a file that cannot be read ({exc.strerror or type(exc).__name__})"
        raise build_refusal(argument, problem, "Give another file.") from exc
    return Fingerprint(digest.hexdigest(), size_bytes)
