"""Read what a media argument names: local files under the allowed folders, unchanged since they were checked, and data URIs.

A manipulated model may name any path. A path outside the allowed folders is not opened at all: opening a device, a pipe or a
mount point has effects. Everything is checked again on the open descriptor, so that nothing can be swapped between check and
read: a regular file whose real path is under one of the folders. A path outside gets the same answer whether or not it exists.

A file is read twice, before its run is accepted and when it is sent. Its fingerprint is taken both times; what is sent is
what was checked.

Bytes may also stand inside the argument: in a data URI (RFC 2397), or in base64 without the beginning that would make it
one. The type that the URI declares is not used: a file is what its bytes say.
"""

import base64
import errno
import hashlib
import io
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias
from urllib.parse import unquote_to_bytes

from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.text import format_size
from flowport.media.formats import sniff

# Not every platform has all of these. Non-blocking, so that a pipe without a writer does not block forever.
_FLAGS: Final = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY")
)
_SYSTEM_FOLDERS: Final = (Path("/proc"), Path("/sys"), Path("/dev"))
_MACOS_F_GETPATH: Final = 50
_MAX_FOLDERS_NAMED: Final = 6
_MAX_LISTED: Final = 100_000
_APOSTROPHES: Final = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u02b9\uff07"), "'")

_OPEN_PROBLEMS: Final = {
    errno.ENOENT: "names a file that does not exist",
    errno.ENOTDIR: "names a file that does not exist",
    errno.ELOOP: "names a symbolic link, which is not followed",
    errno.EMLINK: "names a symbolic link, which is not followed",
    errno.EACCES: "names a file that Flowport is not allowed to open",
    errno.EPERM: "names a file that Flowport is not allowed to open",
    errno.ENXIO: "names something that is not a regular file",
}

Locate: TypeAlias = Callable[[int, Path], str]
"""Find the real path of an open file; OSError or ImportError where this method is unavailable."""


def open_local_file(path: Path, *, argument: str, roots: Iterable[Path], max_bytes: int) -> BinaryIO:
    """Return a file that lies under one of the roots, open for reading from its beginning.

    Blocks on the disk. Links to folders are judged by where they lead; a link to a file is not followed. The file may
    grow while it is open: the reader counts.

    Raises:
        ArgumentsInvalid: The file is elsewhere, missing, no regular file, empty, or larger than `max_bytes`.
    """
    roots = tuple(roots)
    if not is_under_roots(path, roots):
        raise _build_outside(argument, roots)
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as exc:
        raise _explain(exc, argument) from exc
    try:
        _check(descriptor, path, argument, roots, max_bytes)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


@dataclass(frozen=True, slots=True)
class SimilarNames:
    """Several files whose names look like the requested one."""

    names: tuple[str, ...]


def find_similar_file(path: Path, roots: Iterable[Path]) -> Path | SimilarNames | None:
    """Return the only file whose name looks like this one, which does not exist; None when no name does.

    Names look the same when they are equal with their letters composed, each kind of space as a plain one and each
    typographic apostrophe as a straight one. Blocks on the disk; only folders under the roots are listed.
    """
    roots = tuple(roots)
    current = Path(path.anchor)
    for part in path.parts[1:]:
        exact = current / part
        if os.path.lexists(exact) or not is_under_roots(exact, roots):
            current = exact
            continue
        near = _list_similar(current, _fold_name(part))
        if len(near) != 1:
            return SimilarNames(near) if near else None
        current /= near[0]
    return current if current != path and os.path.lexists(current) else None


def _list_similar(folder: Path, look: str) -> tuple[str, ...]:
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted(entry.name for entry in islice(entries, _MAX_LISTED) if _fold_name(entry.name) == look))
    except OSError:
        return ()  # not a folder, or one that may not be listed


def _fold_name(name: str) -> str:
    composed = unicodedata.normalize("NFC", name).translate(_APOSTROPHES)
    return "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in composed)


def is_under_roots(path: Path, roots: Iterable[Path]) -> bool:
    """Return whether a path, which need not exist, leads to a place under one of the roots."""
    # The last part is not resolved: it may be a link, and that is a different refusal.
    try:
        folder = os.path.realpath(path.parent)
    except OSError:
        return False  # a link on the way may not even be read
    return _is_allowed(os.path.normpath(os.path.join(folder, path.name)), roots)  # noqa: PTH118 - a path of text


def _check(descriptor: int, path: Path, argument: str, roots: tuple[Path, ...], max_bytes: int) -> None:
    if not _is_allowed(_get_real_path(descriptor, path), roots):
        raise _build_outside(argument, roots)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "something that is not a regular file"
        raise build_refusal(argument, f"names {what}", "Give the full path of one file.")
    check_size(status.st_size, argument, max_bytes)


def check_size(size_bytes: int, argument: str, max_bytes: int) -> None:
    """Refuse a file that is empty or too large."""
    if not size_bytes:
        raise build_refusal(argument, "names an empty file", "Give a file that has something in it.")
    if size_bytes > max_bytes:
        problem = f"names a file of {format_size(size_bytes)}, and at most {format_size(max_bytes)} can be sent"
        raise build_refusal(argument, problem, "Give a smaller file, or an https URL of it.")


def _is_allowed(real_path: str, roots: Iterable[Path]) -> bool:
    real = Path(real_path)
    if any(real.is_relative_to(folder) for folder in _SYSTEM_FOLDERS):
        return False
    return any(real.is_relative_to(os.path.realpath(root)) for root in roots)


def _explain(exc: OSError, argument: str) -> ArgumentsInvalid:
    problem = _OPEN_PROBLEMS.get(exc.errno or 0, "names a file that cannot be opened")
    return build_refusal(argument, problem, "Give the full path of a file on this computer, or an https URL.")


def _build_outside(argument: str, roots: tuple[Path, ...]) -> ArgumentsInvalid:
    named = [f"{root}{'' if root.is_dir() else ' (which is not there)'}" for root in roots[:_MAX_FOLDERS_NAMED]]
    folders = ", ".join(named) or "none so far"
    return build_refusal(
        argument,
        "names no file in the folders that Flowport may read",
        f"Put the file into one of them ({folders}), or add its folder to FLOWPORT_FILE_ROOTS.",
    )


def _locate_by_procfs(descriptor: int, _: Path) -> str:
    # Linux.
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - the text is wanted as it stands


def _locate_by_fcntl(descriptor: int, _: Path) -> str:
    # macOS; elsewhere the command is invalid, and Windows has no such module.
    if sys.platform == "win32":
        raise ImportError(name="fcntl")
    import fcntl  # noqa: PLC0415 - not on Windows

    return os.fsdecode(fcntl.fcntl(descriptor, _MACOS_F_GETPATH, bytes(1024)).partition(b"\0")[0])


def _locate_by_identity(descriptor: int, path: Path) -> str:
    # Anywhere: the path that the name leads to now, if that is still the file that is open.
    real = os.path.realpath(path)
    if not os.path.samestat(os.stat(real), os.fstat(descriptor)):  # noqa: PTH116 - a path of text
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return real


_LOCATES: Final[tuple[Locate, ...]] = (_locate_by_procfs, _locate_by_fcntl, _locate_by_identity)


def _get_real_path(descriptor: int, path: Path, locates: Iterable[Locate] = _LOCATES) -> str:
    """Return where the open file really is; empty, which is under no folder, when it is unknown."""
    for locate in locates:
        try:
            return locate(descriptor, path)
        except (OSError, ImportError):
            continue  # this platform has another way
    return ""


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
    """Identifies the content of a file."""

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
    with ExitStack() as closing:
        file = closing.enter_context(open_source(source, argument=argument, max_bytes=_ANY_SIZE))
        if _read_fingerprint(file, argument, expected.size_bytes) != expected:
            raise build_refusal(argument, "names a file that has changed since the call", "Make the call again.")
        closing.pop_all()
    return file


def compute_fingerprint(file: BinaryIO, *, argument: str, max_bytes: int) -> Fingerprint:
    """Return the fingerprint of an open file, which is then at its beginning again.

    Raises:
        ArgumentsInvalid: It turned out empty or larger than `max_bytes`, whatever its size said.
    """
    found = _read_fingerprint(file, argument, max_bytes)
    check_size(found.size_bytes, argument, max_bytes)
    return found


def _read_fingerprint(file: BinaryIO, argument: str, max_bytes: int) -> Fingerprint:
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


_MAX_HEADER_CHARACTERS: Final = 300
_MOST_CHARACTERS_PER_BYTE: Final = 4
_MOST_BEGINNINGS: Final = 4
_IS_BASE64: Final = re.compile(r"(?:;|^|:)\s*base64\s*[,:;]?\s*$", re.IGNORECASE)
_BEGINNING: Final = re.compile(
    rf"""
    \s*(?:
        (?:(?:data-?ur[il]|src|url|uri)\s*[:=]|data\s*=)\s*(?=(?:data:|[\w.+-]+/[\w.+-]+\s*;\s*base64|base64\s*[,:]))
      | data:[^,]{{0,{_MAX_HEADER_CHARACTERS}}}?,                # as it should be
      | data:[^,;]{{0,100}};\s*base64\s*[:;]?\s*(?=[A-Za-z0-9+/_-]{{8}})  # without its comma
      | data:\s*(?=data:)                                     # half of it twice
      | (?:[\w.+-]+/[\w.+-]+\s*;\s*)?base64\s*[,:]           # without its first word
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_QUOTED: Final = re.compile(r"""\s*b?(["'`])([^"'`]*)\1\s*""")
"""Data between quotes, as Python shows its bytes."""
_WHITE_SPACE: Final = re.compile(r"\s+")
_EXPECTED: Final = "Give data:image/png;base64, followed by the base64 of the whole file."


def parse_data_uri(value: str, *, argument: str, max_bytes: int) -> bytes:
    """Return the bytes that a data URI holds; at least one.

    White space inside base64, the URL-safe alphabet and missing padding are accepted: assistants produce all three.

    Raises:
        ArgumentsInvalid: The text is not a data URI, its data is broken or missing, or it holds more than `max_bytes`.
    """
    found = _split(value)
    if found is None:
        raise build_refusal(argument, "begins like a data URI but has no comma before the data", _EXPECTED)
    body, is_base64 = found
    try:
        data = _decode(_decode_base64 if is_base64 else unquote_to_bytes, body, argument, max_bytes)
    except ValueError as exc:
        raise build_refusal(argument, "is a data URI whose data is broken or cut off", _EXPECTED) from exc
    if not is_base64:
        data = _decode_unmarked(body) or data
    if not data:
        raise build_refusal(argument, "is a data URI without data", _EXPECTED)
    return data


def parse_base64(value: str, *, argument: str, max_bytes: int) -> bytes:
    """Return the bytes of a file that was given as base64 alone.

    Raises:
        ArgumentsInvalid: It is not base64, or holds more than `max_bytes`.
    """
    try:
        return _decode(_decode_base64, value, argument, max_bytes)
    except ValueError as exc:
        raise build_refusal(argument, "looks like the base64 of a file, but is broken or cut off", _EXPECTED) from exc


def _decode(decode: Callable[[str], bytes], body: str, argument: str, max_bytes: int) -> bytes:
    # Checked before decoding too, so that a huge text is not copied: percent-encoding takes three characters for a byte.
    is_huge = len(body) > _MOST_CHARACTERS_PER_BYTE * max_bytes + _MAX_HEADER_CHARACTERS
    data = b"" if is_huge else decode(body)
    if is_huge or len(data) > max_bytes:
        problem = f"holds more than {format_size(max_bytes)}, the most that can be sent"
        raise build_refusal(argument, problem, "Give a smaller file, or an https URL of it.")
    return data


def _split(value: str) -> tuple[str, bool] | None:
    """Return the data of a URI and whether it is base64; None when nothing separates it from its beginning.

    The beginning may be doubled, or lack the word before the type or the comma: nothing else can be meant.
    """
    rest, is_base64 = value.strip(), False
    for _ in range(_MOST_BEGINNINGS):
        beginning = _BEGINNING.match(rest)
        if beginning is None:
            break
        is_base64 = is_base64 or _IS_BASE64.search(beginning[0]) is not None
        rest = rest[beginning.end() :]
    return None if rest == value.strip() else (rest, is_base64)


def _decode_unmarked(body: str) -> bytes:
    """Return the bytes of base64 that is not marked as such, when they are a picture, video or sound; else nothing."""
    try:
        data = _decode_base64(body)
    except ValueError:
        return b""
    sniffed = sniff(data)
    return data if sniffed is not None and sniffed.is_media else b""


def _decode_base64(body: str) -> bytes:
    text = unquote_to_bytes(body).decode("latin-1") if "%" in body else body
    if found := _QUOTED.fullmatch(text):
        text = found[2]
    if "\\" in text:
        # As text inside JSON has it.
        text = text.replace("\\/", "/").replace("\\n", "").replace("\\r", "")
    text = _WHITE_SPACE.sub("", text).rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
