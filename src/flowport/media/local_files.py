"""Reading a file of this computer that a call names, and only one that may be read.

A model that was talked into it may name any path. One that leads outside the allowed folders is not opened at all:
to open a device, a pipe or a mount point is to act on it. What is opened is asked everything again on the open
descriptor, so that nothing can be exchanged between the check and the reading: a regular file, whose real path lies
under one of the folders. A path outside them gets one answer whether or not something is there.
"""

import errno
import os
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentsInvalid
from flowport.media.errors import format_size

# Not every platform has all of these. Non-blocking, so that a pipe without a writer does not hold us for ever.
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
"""Find the real path of an open file; OSError or ImportError when this way is not to be had here."""


def open_local_file(path: Path, *, argument: str, roots: Iterable[Path], max_bytes: int) -> BinaryIO:
    """Return a file that lies under one of the roots, open for reading from its beginning.

    Blocks on the disk. Links to folders are judged by where they lead; a link to a file is not followed. The file may
    grow while it is open: whoever reads it counts.

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
class SharedStatus:
    """Several files whose names look like the one that was asked for."""

    names: tuple[str, ...]


def find_shared_status(path: Path, roots: Iterable[Path]) -> Path | SharedStatus | None:
    """Return the one file whose name looks like this one, which nothing has; None when none does.

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
        near = _list_same_look(current, _fold_status(part))
        if len(near) != 1:
            return SharedStatus(near) if near else None
        current /= near[0]
    return current if current != path and os.path.lexists(current) else None


def _list_same_look(folder: Path, look: str) -> tuple[str, ...]:
    try:
        with os.scandir(folder) as entries:
            return tuple(
                sorted(entry.name for entry in islice(entries, _MAX_LISTED) if _fold_status(entry.name) == look)
            )
    except OSError:
        return ()  # it may not be listed, or is none


def _fold_status(name: str) -> str:
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
    """Return where the open file really is; empty, which is under no folder, when nobody can tell."""
    for locate in locates:
        try:
            return locate(descriptor, path)
        except (OSError, ImportError):
            continue  # this platform has another way
    return ""
