"""What a process holds of its home, or of the database of its team: the store, and its proof of life."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from flowport.domain.errors import ConfigurationError, StoreError
from flowport.settings.settings import Settings
from flowport.settings.variables import DATABASE_URL
from flowport.store.cluster import Cluster, SharedTexts
from flowport.store.home_id import load_home_id
from flowport.store.interface import Store, Workers
from flowport.store.opening import inspect_store, lacks_team_libraries
from flowport.store.process_lock import NoLock, find_living, prepare_home, take_process_lock
from flowport.store.sqlite.connection import STORE_NAME
from flowport.store.sqlite.rate_windows import RATE_WINDOWS_NAME, RateWindowFile
from flowport.store.sqlite.reconnect import open_refusing_store, open_store

if TYPE_CHECKING:
    from flowport.store.move_record import Moved

_CLUSTER: Final = "flowport.store.postgres.cluster"
_MOVING: Final = "flowport.store.move_record"


@dataclass(frozen=True, slots=True)
class Home:
    """What a process holds of FLOWPORT_HOME, or of the database of its team."""

    store: Store
    process: Workers
    unrecorded: dict[str, tuple[str, str]] | None = None
    """The scope and the app id of each tool name, where nothing can be kept; None in a home that can be used."""
    cluster: Cluster | None = None
    """The database of a team; None where the home has a store of its own."""

    def open_rate_windows(self, folder: Path) -> SharedTexts:
        """Return the record of requests that all processes share; nothing is opened before the first request."""
        return RateWindowFile(folder / RATE_WINDOWS_NAME) if self.cluster is None else self.cluster.rate_windows


def open_home(folder: Path) -> Home:
    """Open the store and take the lock of this process.

    Nothing is raised: a store that cannot be used says why whenever it is asked for what it cannot do. Without a lock
    other processes could not see that this process lives, so the store is then read-only.
    """
    path = folder / STORE_NAME
    try:
        process = take_process_lock(folder)
    except StoreError as exc:
        return Home(open_refusing_store(path, exc), NoLock(folder), unrecorded={})
    return Home(open_store(path), process)


async def open_team_home(settings: Settings, kind: str) -> Home:
    """Connect to the database of a team; files are still shared by the folder of the home.

    Args:
        kind: What this process is to the others, such as a worker.

    Raises:
        ConfigurationError: The libraries for PostgreSQL are missing.
        StoreError: The database cannot be reached, or the folder cannot be written to.
    """
    module = _import_for_team(_CLUSTER)
    prepare_home(settings.home)
    cluster: Cluster = module.open_cluster(
        settings.database_url,
        kind=kind,
        should_save=settings.should_save_outputs,
        home_id=load_home_id(settings.home, settings.output_dir),
    )
    try:
        # A process that cannot begin ends, and is started again by whatever runs it. It is registered before it claims or
        # accepts anything: the others take a holder that is not registered for dead.
        await cluster.workers.beat()
    except StoreError:
        await cluster.store.close()
        raise
    return Home(cluster.store, cluster.workers, cluster=cluster)


async def move_home(folder: Path, database_url: str) -> "tuple[Moved, ...]":
    """Copy what is over from the record of a home into the database of a team; empty where there is no record.

    Raises:
        ConfigurationError: The libraries for PostgreSQL are missing.
        StoreError: A Flowport uses the home, or one of the two records cannot be read or written.
    """
    module = _import_for_team(_MOVING)
    health = inspect_store(folder)
    if health.problem is not None:
        raise health.problem
    if find_living(folder):
        raise StoreError(
            "a Flowport uses this home, and what it writes meanwhile would be left out", "Stop it, and move again."
        )
    if health.is_older:
        raise StoreError(
            "it was written by an older Flowport, whose runs cannot be moved",
            "Start this Flowport with the home once; it sets the old record aside.",
        )
    moved: tuple[Moved, ...] = await module.move_record(folder, database_url) if health.layout else ()
    return moved


def _import_for_team(name: str) -> ModuleType:
    try:
        # By name, so that only a team pays for the driver and the queue.
        return importlib.import_module(name)
    except ImportError as exc:
        if not lacks_team_libraries():
            raise
        problem = "needs the libraries for PostgreSQL, which are not installed"
        raise ConfigurationError(
            DATABASE_URL, problem, "Install Flowport with its extra: pip install '.[team]'."
        ) from exc
