"""File operations that some file systems lack (hard links, syncs, renames over a file), with fallbacks. Blocks on the disk.

Phones, network shares, cards and container mounts lack some of them, and report it in a dozen ways. So an error means
"unsupported here" unless it says that the disk itself is full or broken: that is always raised.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

_BROKEN: Final = frozenset(
    {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENXIO, errno.ENODEV, errno.ESTALE}
)
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR, errno.EBADF})

COPY_SUFFIX: Final = ".part"
"""What is added to the name of a file that waits beside its final place, whole, to get that name."""

MIN_FREE_BYTES: Final = 10_000_000
"""Room that a folder for results has at least; a picture has a few megabytes."""


def is_not_offered(error: OSError) -> bool:
    """Return whether a file system lacks what was asked of it; else the disk, the file or the folder is at fault."""
    return error.errno not in _BROKEN | _GONE


def sync_file(descriptor: int) -> None:
    """Have what was written reach the disk, as far as the file system offers that.

    Raises:
        OSError: The disk is full or broken.
    """
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if not is_not_offered(exc):
            raise


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk, where folders can be opened and synced at all."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half of one.

    Raises:
        OSError: The folder cannot be written to.
    """
    # Two processes may write at once: each has a partial file of its own, and the last rename counts.
    partial_file = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial_file.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            # Else a power cut may leave the new name on a file whose bytes never reached the disk.
            sync_file(file.fileno())
        replace_file(partial_file, path)
    except BaseException:
        partial_file.unlink(missing_ok=True)
        raise


def replace_file(source: Path, target: Path) -> None:
    """Move a file to a name, in the place of whatever file has it: at once where the file system offers that.

    Raises:
        OSError: The disk is full or broken, or the folder has gone.
    """
    _move(source, target, is_claimed=False)


def move_to_free_name(source: Path, target: Path) -> None:
    """Move a file to a name that nothing has; two that try the same name never overwrite each other.

    Raises:
        FileExistsError: Something has the name.
        OSError: The disk is full or broken, or the folder has gone.
    """
    # Renaming would silently replace what is there, on most systems; linking never does.
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError as exc:
        if not is_not_offered(exc):
            raise
    else:
        _drop(source)
        return
    # An empty file claims the name, and only its claimer replaces it.
    _claim(target)
    try:
        _move(source, target, is_claimed=True)
    except FileExistsError:
        raise  # the claim is lost: the name belongs to another
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _claim(target: Path) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _move(source: Path, target: Path, *, is_claimed: bool) -> None:
    """Give a file's bytes the name, whole or not at all as far as renames are offered; see `replace_file`.

    Args:
        is_claimed: Whether an empty file of ours holds the name.

    Raises:
        FileExistsError: Another has taken a claimed name meanwhile.
    """
    if _rename(source, target, is_claimed=is_claimed):
        return
    # The file itself may be what cannot be renamed: it is on another disk, or a program holds it open.
    whole = target.with_name(f"{source.name}{COPY_SUFFIX}")
    try:
        _copy(source, whole)
        is_moved = _rename(whole, target, is_claimed=is_claimed)
    finally:
        _drop(whole)
    if not is_moved:
        _copy_in_place(source, target)
    _drop(source)


def _rename(source: Path, target: Path, *, is_claimed: bool) -> bool:
    """Return whether the file has the name now: at once, or after the file that had the name has gone.

    Raises:
        FileExistsError: Another has taken a claimed name meanwhile; else the claim is still held.
    """
    if _is_offered(partial(source.replace, target)):
        return True
    # The older file goes only where a rename to a free name is known to work.
    beside = target.with_name(f"{source.name}{COPY_SUFFIX}")
    if not _is_offered(partial(source.rename, beside)):
        return False
    try:
        if _is_offered(partial(target.unlink, missing_ok=True)):
            if _is_offered(partial(beside.rename, target)):
                return True
            if is_claimed:
                _claim(target)
        beside.rename(source)
    except FileExistsError:
        beside.rename(source)
        raise
    except BaseException:
        _drop(beside)
        raise
    return False


def _is_offered(step: Callable[[], object]) -> bool:
    """Take a step and return whether the file system offers it; what is broken is an error."""
    try:
        step()
    except OSError as exc:
        if not is_not_offered(exc):
            raise
        return False
    return True


def _copy_in_place(source: Path, target: Path) -> None:
    """Write the bytes under the final name itself where no rename works: only a crash meanwhile leaves half of them."""
    try:
        _copy(source, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as given, open(target, "wb", opener=_open_private) as taken:
        shutil.copyfileobj(given, taken)
        taken.flush()
        sync_file(taken.fileno())


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _drop(source: Path) -> None:
    # Its bytes have their name; where nothing can be removed a second name stays.
    with contextlib.suppress(OSError):
        source.unlink(missing_ok=True)


def find_folder_problem(folder: Path) -> str:
    """Return why a folder cannot take files, as the system says it; empty when it can. It is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".flowport-", suffix=".part", dir=folder)
        os.close(descriptor)
        _drop(Path(name))
        free_bytes = shutil.disk_usage(folder).free
    except OSError as exc:
        return exc.strerror or type(exc).__name__
    return "" if free_bytes >= MIN_FREE_BYTES else f"only {free_bytes // 1_000_000} MB are free on its disk"


def get_stamp(path: Path) -> int:
    """Return a number that changes whenever the file is replaced; 0 if it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
