"""Whether the file that a ledger has open is still the one at its path.

A file that was removed, replaced or moved while it is open takes every write without complaint, and no other process
ever sees them: a run recorded there could be paid for a second time.
"""

import os
import sqlite3
from dataclasses import dataclass
from typing import Self

from flowport.errors import LedgerError


@dataclass(frozen=True, slots=True)
class Place:
    """Where the file was, and which it was, when it was opened."""

    path: str
    """Empty for a database without a file."""
    device: int = 0
    inode: int = 0

    @classmethod
    def note(cls, connection: sqlite3.Connection) -> Self:
        """Return the place of a connection that was just opened."""
        path = str(connection.execute("PRAGMA database_list").fetchone()[2] or "")
        try:
            found = os.stat(path)  # noqa: PTH116 - the identity is what is asked for, of a path as SQLite writes it
        except OSError:
            return cls(path)
        return cls(path, found.st_dev, found.st_ino)

    def find_loss(self) -> LedgerError | None:
        """Return what is wrong when the file is no longer there, or is another one, or was emptied."""
        if not self.path:
            return None
        try:
            found = os.stat(self.path)  # noqa: PTH116 - as above
        except OSError:
            return _build_error("its file was removed or moved")
        if (found.st_dev, found.st_ino) != (self.device, self.inode):
            return _build_error("its file was replaced")
        return None if found.st_size else _build_error("its file was emptied")


def _build_error(problem: str) -> LedgerError:
    return LedgerError(
        f"{problem} while Flowport is running, so a run that is started now could be forgotten and paid for twice",
        "Restart Flowport everywhere.",
    )
