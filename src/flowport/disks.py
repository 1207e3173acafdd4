"""What a file system may lack (hard links, syncs, renames over a file, rights), and what is done instead. Blocks on the disk.

Phones, network shares, cards and containers' mounts lack one or the other, and answer in any of a dozen ways. So an error
means "not offered here" unless it says that the disk itself is full or broken: that is never passed over.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_BROKEN: Final = frozenset(
    {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENXIO, errno.ENODEV, errno.ESTALE}
)
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR, errno.EBADF})

MIN_FREE_BYTES: Final = 10_000_000
"""Room that a folder for results has at least; a picture has a few megabytes."""


def is_not_offered(error: OSError) -> bool:
    """Tell whether a file system lacks what was asked of it; else the disk, the file or the folder is at fault."""
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


def replace_file(source: Path, target: Path) -> None:
    """Move a file to a name, in the place of whatever file has it: at once where the file system offers that.

    Raises:
        OSError: The disk is full or broken, or the folder has gone.
    """
    try:
        source.replace(target)
    except OSError as exc:
        if not is_not_offered(exc):
            raise
        copy_over(source, target)


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
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        replace_file(source, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def copy_over(source: Path, target: Path) -> None:
    """Write a file's bytes into another and remove it: the last resort, since a crash meanwhile leaves half of them.

    Raises:
        OSError: The disk is full or broken, or the folder has gone.
    """
    with source.open("rb") as given, target.open("wb") as taken:
        shutil.copyfileobj(given, taken)
        taken.flush()
        sync_file(taken.fileno())
    _drop(source)


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
