"""Opening FLOWPORT_HOME: the store, and this process's proof of life."""

from dataclasses import dataclass
from pathlib import Path

from flowport.domain.errors import StoreError
from flowport.store.interface import Store
from flowport.store.process_lock import Bystander, NoLocks, ProcessLock
from flowport.store.sqlite.connection import STORE_NAME
from flowport.store.sqlite.reconnect import open_refusing_store, open_store


@dataclass(frozen=True, slots=True)
class Home:
    """What a process holds of its home."""

    store: Store
    process: ProcessLock
    unrecorded: dict[str, str] | None = None
    """The names that tools are given where nothing can be kept, with their scopes; None in a home that can be used."""


def open_home(folder: Path) -> Home:
    """Open the store and take the lock of this process.

    Nothing is raised: a store that cannot be used says why whenever it is asked for what it cannot do. Without a lock
    nothing could tell that this process lives, so the store is then for reading alone.
    """
    path = folder / STORE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        process = ProcessLock(folder)
    except NoLocks as exc:
        reason = f"its folder {folder} does not let programs lock files ({exc.strerror})"
        problem = StoreError(reason, "Set FLOWPORT_HOME to a folder on a local disk.")
    except OSError as exc:
        reason = f"the folder {folder} cannot be written to ({exc.strerror or type(exc).__name__})"
        problem = StoreError(reason, "Set FLOWPORT_HOME to a folder that you may write to.")
    else:
        return Home(open_store(path), process)
    return Home(open_refusing_store(path, problem), Bystander(folder), unrecorded={})
