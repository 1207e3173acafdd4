"""The store in one SQLite file, shared by every Flowport process of a home.

This module lists the operations; what each does is in the module that it comes from, when it runs is in `thread`, how
the file is opened in `connection`.
"""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from flowport.domain.errors import StoreError
from flowport.domain.models import BootTime
from flowport.domain.run_events import Reported, RunEvent, StartRequested
from flowport.store.records import Erasure, RecordOutcome, Reminder
from flowport.store.sqlite import accept as acceptance
from flowport.store.sqlite import batches, maintenance, names, queries, spending, uploads
from flowport.store.sqlite.connection import BUSY_SECONDS, open_connection, open_reading_connection
from flowport.store.sqlite.methods import reads, writes
from flowport.store.sqlite.thread import StoreWorker, Worker
from flowport.store.sqlite.writes import claim_run, is_waited_for, record_event, remove_waiting

ASIDE_SECONDS: Final = 1.0
"""How long an answer that is in hand waits for other processes to let us note something beside it."""


class SqliteStore:
    """A `Store` in a SQLite file; see there for what each method promises."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    accept = writes(acceptance.accept_run, begins_run=True)
    claim = writes(claim_run)
    leave = writes(remove_waiting)
    get_calling_processes = reads(acceptance.get_calling_processes)
    forget_calls_of = writes(acceptance.forget_calls_of)
    is_waited_for = reads(is_waited_for)

    accept_batch = writes(batches.accept_batch, begins_run=True)
    accept_rows = writes(batches.accept_rows, begins_run=True)
    drop_rows = writes(batches.drop_rows)
    finish_batch = writes(batches.finish_batch)
    get_waiting_rows = reads(batches.get_waiting_rows)
    get_batch_progress = reads(batches.get_batch_progress)
    get_rows = reads(batches.get_rows)
    get_live_rows = reads(batches.get_live_rows)
    get_batch_arguments = reads(batches.get_batch_arguments)
    get_row_arguments = reads(batches.get_row_arguments)

    get_run = reads(queries.get_run)
    get_runs = reads(queries.get_runs)
    count_unseen = reads(queries.count_unseen)
    get_runs_under_way = reads(queries.get_runs_under_way)
    get_live_runs = reads(queries.get_live_runs)
    get_unsaved_runs = reads(queries.get_unsaved_runs)
    get_stranded_runs = reads(queries.get_stranded_runs)
    get_needed_provider_ids = reads(queries.get_needed_provider_ids)
    get_run_by_output_url = reads(queries.get_run_by_output_url)
    get_last_delivered = reads(queries.get_last_delivered)
    get_durations = reads(queries.get_durations)
    get_histories = reads(queries.get_histories)
    get_used_apps = reads(queries.get_used_apps)

    get_spending = reads(spending.get_spending)
    assign_tool_names = writes(names.assign_tool_names)
    assign_property_names = writes(names.assign_property_names)
    claim_upload = writes(uploads.claim_upload)
    note_upload = writes(uploads.note_upload)
    forget_upload = writes(uploads.forget_upload)
    get_history = reads(maintenance.get_history)
    get_disk_use = reads(maintenance.get_disk_use)

    async def record(
        self,
        run_id: str,
        event: RunEvent,
        lease: int | None = None,
        *,
        ended_call_id: str = "",
        unless_waited_for: bool = False,
    ) -> RecordOutcome:
        """Apply an event to a run."""
        if isinstance(event, StartRequested):
            self._require_place()
        # A report is recorded beside an answer that is ready to be written.
        patience = ASIDE_SECONDS if isinstance(event, Reported) else None
        write = partial(record_event, run_id=run_id, event=event, lease=lease, ended_call_id=ended_call_id)
        return await self._worker.write(partial(write, unless_waited_for=unless_waited_for), patience_seconds=patience)

    async def take_reminder(self, *, owner: str, but: Collection[str] = ()) -> Reminder | None:
        """Return what is to be mentioned beside an answer, and count it."""
        # As a rule there is none, and a read waits for no other process.
        if await self._worker.read(partial(acceptance.select_reminder, owner=owner, but=but)) is None:
            return None
        take = partial(acceptance.take_reminder, owner=owner, but=but)
        return await self._worker.write(take, patience_seconds=ASIDE_SECONDS)

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
        path = await self._worker.read(maintenance.get_path)
        damage = await anyio.to_thread.run_sync(maintenance.find_damage, path, limiter=anyio.CapacityLimiter(1))
        if damage is not None:
            self._worker.damage = damage
            raise damage

    async def prune(self, *, before: float, boot_before: BootTime | None = None) -> int:
        """Forget the runs that ended and were seen before an instant."""
        return (await self._take_out(partial(maintenance.prune_slice, before=before, boot_before=boot_before))).runs

    async def erase_run(self, run_id: str, *, owner: str) -> Erasure:
        """Remove one run that is over."""
        erased = await self._worker.write(partial(maintenance.erase_run, run_id=run_id, owner=owner))
        await self._worker.perform_alone(maintenance.scrub)
        return Erasure(erased.runs, erased.saved_paths)

    async def erase_owner(self, owner: str, *, before: float | None = None) -> Erasure:
        """Remove all of an owner's runs that are over."""
        erased = await self._take_out(partial(maintenance.erase_slice, owner=owner, before=before))
        await self._worker.perform_alone(maintenance.scrub)
        return erased

    async def _take_out(self, take_slice: Callable[..., maintenance.Slice]) -> Erasure:
        begin: int | None = 0
        runs, saved_paths = 0, list[str]()
        while begin is not None:
            taken = await self._worker.write(partial(take_slice, begin=begin))
            begin, runs = taken.end, runs + taken.runs
            saved_paths += taken.saved_paths
        return Erasure(runs, tuple(saved_paths))

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
