"""Opening FLOWPORT_HOME: the ledger, and this process's proof of life."""

from dataclasses import dataclass
from pathlib import Path

from flowport.domain.errors import LedgerError
from flowport.store.interface import Ledger
from flowport.store.process_lock import Bystander, NoLocks, ProcessLock
from flowport.store.sqlite.connection import LEDGER_NAME
from flowport.store.sqlite.reconnect import open_ledger, open_refusing_ledger


@dataclass(frozen=True, slots=True)
class Home:
    """What a process holds of its home."""

    ledger: Ledger
    process: ProcessLock
    unrecorded: dict[str, str] | None = None
    """The names that tools are given where nothing can be kept, with their scopes; None in a home that can be used."""


def open_home(folder: Path) -> Home:
    """Open the ledger and take the lock of this process.

    Nothing is raised: a ledger that cannot be used says why whenever it is asked for what it cannot do. Without a lock
    nothing could tell that this process lives, so the ledger is then for reading alone.
    """
    path = folder / LEDGER_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        process = ProcessLock(folder)
    except NoLocks as exc:
        reason = f"its folder {folder} does not let programs lock files ({exc.strerror})"
        problem = LedgerError(reason, "Set FLOWPORT_HOME to a folder on a local disk.")
    except OSError as exc:
        reason = f"the folder {folder} cannot be written to ({exc.strerror or type(exc).__name__})"
        problem = LedgerError(reason, "Set FLOWPORT_HOME to a folder that you may write to.")
    else:
        return Home(open_ledger(path), process)
    return Home(open_refusing_ledger(path, problem), Bystander(folder), unrecorded={})
