"""The store in one SQLite file, shared by every Flowport process of a home.

This module holds the list of operations; what each does is in `changes`, `queries` and `names`, when it runs is in
`worker`, how the file is opened in `opening`.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from flowport.domain.errors import StoreError
from flowport.domain.models import BootTime, Run, RunState
from flowport.domain.run_events import Reported, RunEvent, StartRequested
from flowport.domain.spending import Spending, SpendingCheck
from flowport.store.records import (
    AcceptOutcome,
    AppHistory,
    AttachRules,
    BuildPropertyNames,
    BuildToolName,
    ClaimOutcome,
    Erasure,
    History,
    RecordOutcome,
    Reminder,
)
from flowport.store.sqlite import accept as attaching
from flowport.store.sqlite import maintenance as upkeep
from flowport.store.sqlite import names, queries, spending, writes
from flowport.store.sqlite.batches import SqliteBatches
from flowport.store.sqlite.connection import BUSY_SECONDS, open_connection, open_reading_connection
from flowport.store.sqlite.queries import RunFilter
from flowport.store.sqlite.thread import StoreWorker, Worker
from flowport.store.sqlite.thread_switching import hurrying
from flowport.store.sqlite.uploads import SqliteUploads

ASIDE_SECONDS: Final = 1.0
"""How long an answer that is in hand waits for other processes to let us note something beside it."""


class SqliteStore(SqliteBatches, SqliteUploads):
    """A `Store` in a SQLite file; see there for what each method promises."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def accept(
        self, run: Run, rules: AttachRules | None = None, terms: SpendingCheck | None = None
    ) -> AcceptOutcome:
        """Record a new run with its reservation, or find the one to join."""
        self._require_sound()
        with hurrying():
            return await self._worker.write(partial(attaching.accept_run, run=run, rules=rules, terms=terms))

    async def leave(self, *call_ids: str) -> None:
        """Record that these calls wait no longer."""
        await self._worker.write(lambda connection: writes.remove_waiting(connection, *call_ids))

    async def get_calling_processes(self) -> frozenset[str]:
        """Return the processes whose calls are on record."""
        return await self._worker.read(attaching.select_calling_processes)

    async def forget_calls_of(self, process_ids: Sequence[str]) -> None:
        """Record that the calls of these processes wait no longer."""
        await self._worker.write(partial(attaching.remove_calls_of, process_ids=tuple(process_ids)))

    async def is_waited_for(self, run_id: str) -> bool:
        """Tell whether some call still waits for a run."""
        return await self._worker.read(partial(writes.is_waited_for, run_id=run_id))

    async def take_reminder(self, *, owner: str, but: Collection[str] = ()) -> Reminder | None:
        """Return what is to be mentioned beside an answer, and count it."""
        select = partial(attaching.select_reminder, owner=owner, but=tuple(but))
        # As a rule there is none, and a read waits for no other process.
        if await self._worker.read(select) is None:
            return None
        take = partial(attaching.take_reminder, owner=owner, but=tuple(but))
        return await self._worker.write(take, patience_seconds=ASIDE_SECONDS)

    async def record(
        self, run_id: str, event: RunEvent, *, ended_call_id: str = "", unless_waited_for: bool = False
    ) -> RecordOutcome:
        """Apply an event to a run."""
        if isinstance(event, StartRequested):
            self._require_place()
        # A report is recorded beside an answer that is ready to be written.
        patience = ASIDE_SECONDS if isinstance(event, Reported) else None
        write = partial(writes.record_event, run_id=run_id, event=event, ended_call_id=ended_call_id)
        with hurrying() if isinstance(event, StartRequested) else nullcontext():
            return await self._worker.write(
                partial(write, unless_waited_for=unless_waited_for), patience_seconds=patience
            )

    async def claim(self, run_id: str, worker: str, *, from_worker: str) -> ClaimOutcome:
        """Let another process follow a run."""
        return await self._worker.write(
            partial(writes.claim_run, run_id=run_id, worker=worker, from_worker=from_worker)
        )

    async def get_run(self, run_id: str, *, account_id: str | None, owner: str) -> Run:
        """Return one run of an owner."""
        whose = RunFilter(owner, account_id)
        return await self._worker.read(partial(queries.select_run, run_id=run_id, whose=whose))

    async def get_runs(
        self,
        *,
        account_id: str | None,
        owner: str,
        limit: int,
        before: str | None = None,
        unseen_first: bool,
        state: RunState | None = None,
    ) -> tuple[Run, ...]:
        """Return one page of an owner's runs, newest first."""
        whose = RunFilter(owner, account_id, state)
        return await self._worker.read(
            partial(queries.select_runs, whose=whose, limit=limit, before=before, unseen_first=unseen_first)
        )

    async def count_unseen(self, *, owner: str) -> int:
        """Return how many of an owner's runs are over and not seen."""
        return await self._worker.read(partial(queries.count_unseen, owner=owner))

    async def get_runs_under_way(self, *, owner: str, limit: int) -> tuple[Run, ...]:
        """Return an owner's newest runs and batches that are not over."""
        return await self._worker.read(partial(queries.select_runs_under_way, owner=owner, limit=limit))

    async def get_live_runs(self, *, account_id: str) -> tuple[Run, ...]:
        """Return every run of an account that is not over."""
        return await self._worker.read(partial(queries.select_live_runs, account_id=account_id))

    async def get_unsaved_runs(self, *, account_id: str, now: float, since: float) -> tuple[Run, ...]:
        """Return every run of an account with outputs to be fetched."""
        return await self._worker.read(
            partial(queries.select_unsaved_runs, account_id=account_id, now=now, since=since)
        )

    async def get_needed_provider_ids(self, *, account_id: str) -> frozenset[str]:
        """Return the provider's ids of runs that are live or not delivered."""
        return await self._worker.read(partial(queries.select_needed_provider_ids, account_id=account_id))

    async def get_stranded_runs(self, *, scope: str, account_id: str, limit: int) -> tuple[Run, ...]:
        """Return runs of a scope's other accounts that this one has not tried to read."""
        return await self._worker.read(
            partial(queries.select_stranded_runs, scope=scope, account_id=account_id, limit=limit)
        )

    async def get_run_by_output_url(self, url: str, *, owner: str) -> Run:
        """Return the owner's newest run with an output at this URL."""
        return await self._worker.read(partial(queries.select_run_by_output_url, url=url, owner=owner))

    async def get_spending(
        self, *, account_id: str, owner: str, since: float, boot_since: BootTime | None = None
    ) -> Spending:
        """Return what an owner's runs at an account's provider have cost."""
        select = partial(spending.select_spending, account_id=account_id, owner=owner)
        return await self._worker.read(partial(select, since=since, boot_since=boot_since))

    async def get_durations(self, *, account_id: str, app_id: str, limit: int = 20) -> tuple[float, ...]:
        """Return how long the app's latest successful runs took."""
        return await self._worker.read(
            partial(queries.select_durations, account_id=account_id, app_id=app_id, limit=limit)
        )

    async def get_histories(self, *, account_id: str, app_ids: Sequence[str], limit: int = 20) -> dict[str, AppHistory]:
        """Return what the latest runs of these apps tell of them."""
        return await self._worker.read(
            partial(queries.select_histories, account_id=account_id, app_ids=tuple(app_ids), limit=limit)
        )

    async def get_used_apps(self, *, account_id: str, since: float) -> frozenset[str]:
        """Return the ids of the apps that were run since an instant."""
        return await self._worker.read(partial(queries.select_used_apps, account_id=account_id, since=since))

    async def assign_tool_names(
        self, scope: str, *, apps: Sequence[tuple[str, str]], build_name: BuildToolName
    ) -> dict[str, str]:
        """Return the tool name of each app, giving names where there are none."""
        return await self._worker.write(
            partial(names.assign_tool_names, scope=scope, apps=tuple(apps), build_name=build_name)
        )

    async def assign_property_names(
        self, scope: str, *, apps: Sequence[tuple[str, BuildPropertyNames]]
    ) -> dict[str, dict[str, str]]:
        """Return the property names of each app's inputs, giving names where there are none."""
        return await self._worker.write(partial(names.assign_property_names, scope=scope, apps=tuple(apps)))

    def _require_sound(self) -> None:
        """Refuse what begins a run when the file is damaged or gone; what was begun is still written as well as it can be."""
        if self._worker.damage is not None:
            raise self._worker.damage
        self._require_place()

    def _require_place(self) -> None:
        if (loss := self._worker.find_loss()) is not None:
            raise loss

    async def check(self) -> None:
        """Look for damage."""
        path = await self._worker.read(upkeep.get_path)
        damage = await anyio.to_thread.run_sync(upkeep.find_damage, path, limiter=anyio.CapacityLimiter(1))
        if damage is not None:
            self._worker.damage = damage
            raise damage

    async def prune(self, *, before: float, boot_before: BootTime | None = None) -> int:
        """Forget the runs that ended and were seen before an instant."""
        return (await self._take_out(partial(upkeep.prune_slice, before=before, boot_before=boot_before))).runs

    async def erase_run(self, run_id: str, *, owner: str) -> Erasure:
        """Remove one run that is over."""
        erased = await self._worker.write(partial(upkeep.erase_run, run_id=run_id, owner=owner))
        await self._worker.perform_alone(upkeep.scrub)
        return Erasure(erased.runs, erased.saved_paths)

    async def erase_owner(self, owner: str) -> Erasure:
        """Remove all of an owner's runs that are over."""
        erased = await self._take_out(partial(upkeep.erase_slice, owner=owner))
        await self._worker.perform_alone(upkeep.scrub)
        return erased

    async def _take_out(self, take_slice: Callable[..., upkeep.Slice]) -> Erasure:
        begin: int | None = 0
        runs, saved_paths = 0, list[str]()
        while begin is not None:
            taken = await self._worker.write(partial(take_slice, begin=begin))
            begin, runs = taken.end, runs + taken.runs
            saved_paths += taken.saved_paths
        return Erasure(runs, tuple(saved_paths))

    async def get_history(self, *, owner: str) -> History:
        """Return how much there is of an owner's."""
        return await self._worker.read(partial(upkeep.select_history, owner=owner))

    async def get_disk_use(self) -> int:
        """Return how many bytes the files take."""
        return await self._worker.read(upkeep.measure_files)

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        await self._worker.close()


def open_sqlite_store(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> SqliteStore:
    """Open the store at a path, creating the file (0600) and its folder (0700) where they are missing.

    Takes a few milliseconds when the file exists. Blocks the thread while another process creates or migrates it.

    Args:
        busy_seconds: How long this and every later transaction waits for another process before it gives up.

    Raises:
        StoreError: The file cannot be read or written, is damaged, is no store, or is too new.
    """
    return SqliteStore(open_worker(path, busy_seconds=busy_seconds))


def open_worker(path: Path, *, busy_seconds: float, wait_seconds: float | None = None) -> StoreWorker:
    """Open the two connections of a store; see `open_sqlite_store`.

    Args:
        busy_seconds: How long each operation waits for another process.
        wait_seconds: How long the opening does; None for as long.
    """
    connection = open_connection(path, busy_seconds=busy_seconds if wait_seconds is None else wait_seconds)
    try:
        reader = open_reading_connection(path, busy_seconds=busy_seconds)
        return StoreWorker(connection, reader, busy_seconds=busy_seconds)
    except StoreError:
        connection.close()
        raise
