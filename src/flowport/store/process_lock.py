"""Find out whether another Flowport of the same home is alive, without relying on a clock.

Each process holds an operating system's lock on a file of its own for as long as it lives. The system lets go of the
lock however the process ends, and keeps it while a laptop sleeps; a heartbeat would be wrong about both.
"""

import errno
import os
import secrets
import sys
from pathlib import Path
from typing import Final

from flowport.domain.errors import StoreError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FOLDER: Final = "processes"
ADDRESS_NAME: Final = "address.json"
"""The file in the sandbox's folder with the address of the process that holds the folder."""

ADDRESS_VERSION: Final = 1
"""The version of that file's format."""

_HELD: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK})
"""The errors of a lock that another process holds; the last one is that of Windows."""
_ID_CHARACTERS: Final = frozenset("0123456789abcdef")


class NoLocks(OSError):
    """The file system of a folder does not support file locks."""


class ProcessLock:
    """A file lock that shows that this process is alive."""

    def __init__(self, home: Path) -> None:
        """Take the lock; create the folder if it is missing.

        Raises:
            NoLocks: The folder's file system has no locks.
            OSError: The folder cannot be written to.
        """
        self._folder = home / FOLDER
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.process_id = secrets.token_hex(8)
        self._path = self._build_path(self.process_id)
        self._descriptor: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if not _lock(self._descriptor):
                raise NoLocks(errno.ENOLCK, os.strerror(errno.ENOLCK))
        except OSError as exc:
            self.release()
            raise NoLocks(exc.errno, exc.strerror) from exc

    def is_alive(self, process_id: str) -> bool:
        """Return whether the process of this id still holds its lock; a process without a file has ended."""
        if process_id == self.process_id:
            return True
        if not process_id or not _ID_CHARACTERS.issuperset(process_id):
            return False
        try:
            descriptor = os.open(self._build_path(process_id), os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError:
            # Unknown, so nothing that may belong to another process is touched.
            return True
        try:
            return not _lock(descriptor)
        except OSError:
            return True  # likewise
        finally:
            # Closing releases the lock that the check may have taken.
            os.close(descriptor)

    def has_died(self, process_id: str) -> bool:
        """Return whether a process of this home was killed: its file exists and is not locked. Other homes are not known."""
        is_ours = bool(process_id) and _ID_CHARACTERS.issuperset(process_id)
        return is_ours and self._build_path(process_id).exists() and not self.is_alive(process_id)

    def release(self) -> None:
        """Release the lock and remove the file; a second call does nothing."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            # A second close would close whatever has the number by then.
            os.close(self._descriptor)
            self._descriptor = None

    def _build_path(self, process_id: str) -> Path:
        return self._folder / f"{process_id}.lock"


class NoLock(ProcessLock):
    """Used where the folder cannot be written to: it sees other processes, and they do not see it."""

    def __init__(self, home: Path) -> None:
        """Take an id without a lock; no run may be started under it."""
        self._folder = home / FOLDER
        self.process_id = secrets.token_hex(8)

    def release(self) -> None:
        """Do nothing."""


def find_living(home: Path) -> tuple[str, ...]:
    """Return the ids of the processes of a home that are alive."""
    observer = NoLock(home)
    ids = sorted(path.stem for path in (home / FOLDER).glob("*.lock"))
    return tuple(one for one in ids if len(one) == len(observer.process_id) and observer.is_alive(one))


class LeaderLock:
    """The right to do something that one process does for all; its holder keeps it for life."""

    def __init__(self, home: Path, name: str) -> None:
        """Prepare without taking it. The name may contain letters, digits, dots and dashes."""
        self._path = home / FOLDER / f"{name}.lock"
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take it if no process has it, and return whether this process has it.

        Raises:
            OSError: The folder cannot be written to, or its file system has no locks.
        """
        if self._descriptor is None:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            is_ours = False
            try:
                is_ours = _lock(descriptor)
            finally:
                if is_ours:
                    self._descriptor = descriptor
                else:
                    os.close(descriptor)
        return self._descriptor is not None

    def take_if_possible(self) -> bool:
        """Take the turn if no process has it; where no lock can be taken, each process has the turn."""
        try:
            return self.take()
        except OSError:
            return True

    def release(self) -> None:
        """Release it. The file stays: removing it could give two processes the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def take_process_lock(home: Path) -> ProcessLock:
    """Return the lock of this process in a home, which is created if it is missing.

    Raises:
        StoreError: The folder cannot be written to, or has no locks.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return ProcessLock(home)
    except NoLocks as exc:
        reason = f"its folder {home} does not let programs lock files ({exc.strerror})"
        raise StoreError(reason, "Set FLOWPORT_HOME to a folder on a local disk.") from exc
    except OSError as exc:
        reason = f"the folder {home} cannot be written to ({exc.strerror or type(exc).__name__})"
        raise StoreError(reason, "Set FLOWPORT_HOME to a folder that you may write to.") from exc


def prepare_home(home: Path) -> None:
    """Create a home and its folder of locks where they are missing, without the lock of a process.

    Raises:
        StoreError: The folder cannot be written to.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / FOLDER).mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        reason = f"the folder {home} cannot be written to ({exc.strerror or type(exc).__name__})"
        raise StoreError(reason, "Set FLOWPORT_HOME to a folder that you may write to.") from exc


def _lock(descriptor: int) -> bool:
    """Take the lock if it is free, and return whether this process holds it.

    Raises:
        OSError: The file system has no locks; that says nothing about another process.
    """
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in _HELD:
            return False
        raise
    return True
