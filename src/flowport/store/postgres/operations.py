"""What the operations of the PostgreSQL store have in common: rows and records, the write of a run, its job and its news.

What an event makes of a run is decided by `domain.run_events.apply` alone: the transaction holds the lock of the run's row,
so the row cannot change between being read and being written.
"""

import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

from flowport.domain.models import Output, Run, RunState
from flowport.domain.run_events import (
    Adopted,
    Delivered,
    DeliveryCancelled,
    RunEvent,
    Settled,
    StartAcknowledged,
    StartConfirmed,
    Witness,
    apply,
    is_covered,
)
from flowport.store.cluster import NewsKind
from flowport.store.postgres.jobs import add_job
from flowport.store.postgres.transaction import Transaction, Values
from flowport.store.records import Recorded, RecordOutcome, Stale
from flowport.store.rows import (
    FINAL,
    LIVE,
    OUTPUT_COLUMNS,
    RUN_COLUMNS,
    RUN_LIST,
    build_changed_values,
    build_output_values,
    build_run_values,
    parse_output,
    parse_run,
)
from flowport.store.statements import build_insert

P = ParamSpec("P")
T = TypeVar("T")
Operation: TypeAlias = Callable[Concatenate[Any, Transaction, P], Coroutine[Any, Any, T]]
"""A method with the whole of an operation, which is given its transaction."""
Method: TypeAlias = Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]


def reads(operation: Operation[P, T]) -> Method[P, T]:
    """Return a method that performs an operation of several statements on one snapshot of `self.database`."""

    async def perform(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = await self.database.read(lambda transaction: operation(self, transaction, *args, **kwargs))
        return found

    return perform


def looks_up(operation: Operation[P, T]) -> Method[P, T]:
    """Return a method that performs an operation of one statement, which only reads."""

    async def perform(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = await self.database.look_up(lambda transaction: operation(self, transaction, *args, **kwargs))
        return found

    return perform


def writes(operation: Operation[P, T]) -> Method[P, T]:
    """Return a method that performs an operation in a transaction; it may be performed more than once."""

    async def perform(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = await self.database.write(lambda transaction: operation(self, transaction, *args, **kwargs))
        return found

    return perform


def translate(statement: str) -> str:
    """Return a statement of `store.statements` with its values named as PostgreSQL's library has them."""
    return re.sub(r":([a-z]\w*)", r"%(\1)s", statement)


_OUTPUT_JSON: Final = (
    "(SELECT json_agg(json_build_array("  # noqa: S608 - our own words
    + ", ".join(f"outputs.{column}" for column in OUTPUT_COLUMNS)
    + ") ORDER BY outputs.n) FROM outputs WHERE outputs.run_id = runs.id)"
)
SELECTED: Final = f"{RUN_LIST}, {_OUTPUT_JSON}"
"""The columns of a run, and then its outputs as one JSON value."""
IS_OVER: Final = f"runs.state IN ({FINAL})"
IS_UNDELIVERED: Final = f"(runs.delivered_at IS NULL AND {IS_OVER})"
IS_ALONE: Final = "runs.batch_id = ''"
"""Of a batch with its rows the batch alone."""
IS_LIVE: Final = f"(runs.finished_at IS NULL AND runs.state IN ({LIVE}))"


def parse_row(row: Sequence[Any]) -> Run:
    """Return the run of a row that begins with `SELECTED`.

    Raises:
        StoreError: It holds a value that this version does not know.
    """
    outputs: list[Output] = [
        parse_output(dict(zip(OUTPUT_COLUMNS, one, strict=True))) for one in row[len(RUN_COLUMNS)] or ()
    ]
    return parse_run(row[: len(RUN_COLUMNS)], outputs)


async def select(transaction: Transaction, query: str, values: Values = ()) -> list[dict[str, Any]]:
    """Return the rows of a query, made of our own words, by the names of their columns."""
    cursor = await transaction.execute(query, values)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]


async def select_runs(transaction: Transaction, source: str, values: Values = ()) -> tuple[Run, ...]:
    """Return the runs of a query, with their outputs, by one statement.

    Args:
        source: What follows FROM; made of our own words.
    """
    cursor = await transaction.execute(f"SELECT {SELECTED} FROM {source}", values)  # noqa: S608 - our own words
    return tuple([parse_row(row) for row in await cursor.fetchall()])


async def find_run(transaction: Transaction, run_id: str, *, is_locked: bool = False) -> Run | None:
    """Return one run of any owner; None if nothing was found.

    Args:
        is_locked: Let no other transaction change its row until this one ends.
    """
    if is_locked:
        # A statement of its own: the one that waits for a lock still sees the outputs as they were before it waited.
        transaction.send("SELECT 1 FROM runs WHERE id = %s FOR UPDATE", (run_id,))
    return next(iter(await select_runs(transaction, "runs WHERE id = %s", (run_id,))), None)


async def find_changed_run(transaction: Transaction, run_id: str, key: str) -> Run | None:
    """Return a run whose last change by its holder has this key; None where it has another one.

    Where the transaction has the lock of the run, a change with this key that is still on its way changes nothing any more.
    """
    source, values = "runs WHERE id = %s AND changed_by = %s", (run_id, key)
    return next(iter(await select_runs(transaction, source, values)), None)


def lock_texts(transaction: Transaction, *texts: str) -> None:
    """Let transactions with an equal text wait for each other until they end; the locks are taken in this order."""
    if texts:
        transaction.send(
            "SELECT pg_advisory_xact_lock(hashtextextended(given, 0)) FROM unnest(%s::text[]) AS given", (list(texts),)
        )


async def insert_run(transaction: Transaction, run: Run, *, is_queued: bool) -> None:
    """Add a run as it is, with its outputs; a queued one with its job."""
    await insert_runs(transaction, [run], is_queued=is_queued)


async def insert_runs(transaction: Transaction, runs: Sequence[Run], *, is_queued: bool) -> None:
    """Add runs as they are, with their outputs; queued ones with their jobs."""
    for run in runs:
        transaction.send(INSERT_RUN, build_new_values(run, is_queued=is_queued))
        write_outputs(transaction, run.id, run.outputs)
        post_change(transaction, run, NewsKind.CREATED)
        if is_queued:
            await add_job(transaction, run)


def build_new_values(run: Run, *, is_queued: bool) -> dict[str, Any]:
    """Return the values of the statement that adds a run."""
    return {**build_run_values(run), **_build_folded(run), "is_queued": is_queued}


def _build_folded(run: Run) -> dict[str, str]:
    """Return what a search looks through, written with the run: PostgreSQL folds case by the rules of its system."""
    return {
        "folded_app": f"{run.app_name} {run.tool_name}".casefold(),
        "folded_rest": f" {run.id} {run.arguments_json}".casefold(),
    }


def write_outputs(transaction: Transaction, run_id: str, outputs: Sequence[Output]) -> None:
    """Add outputs of a run, or replace those of the same number."""
    for output in outputs:
        transaction.send(_WRITE_OUTPUT, build_output_values(run_id, output))


def post_change(transaction: Transaction, run: Run, kind: NewsKind) -> None:
    """Report a change of a run to every replica and worker."""
    transaction.post(build_change_news(run, kind))


def build_change_news(run: Run, kind: NewsKind) -> dict[str, str]:
    """Return the news of a change of a run."""
    goes_on = {} if run.state.is_final or not run.is_followed else {"goes_on": "yes"}
    news = {"kind": kind, "run_id": run.id, "owner": run.owner, "batch_id": run.batch_id, "account_id": run.account_id}
    return {**news, **goes_on}


def build_provider_run_lock(event: StartAcknowledged) -> str:
    """Return the text to lock: of two of our runs that are found to be one run of the provider, the second sees the first."""
    return f"provider run {event.provider_run_id}"


async def record_event(
    transaction: Transaction,
    run_id: str,
    event: RunEvent,
    lease: int | None = None,
    *,
    ended_call_id: str = "",
    unless_waited_for: bool = False,
) -> RecordOutcome:
    """Apply an event to a run, and a delivery of a batch to its rows; the call that it answers waits no longer.

    Where another than the holder of its job gives the run something to do, a job is added.
    """
    if ended_call_id:
        remove_waiting(transaction, ended_call_id)
    if isinstance(event, StartAcknowledged):
        lock_texts(transaction, build_provider_run_lock(event))
    before = await find_run(transaction, run_id, is_locked=True)
    if before is None or (unless_waited_for and await is_waited_for(transaction, run_id)):
        return Stale(before)
    is_possible = is_covered(before, event, lease) and not await _is_claimed(transaction, before, event)
    after = apply(before, event) if is_possible else before
    if after == before:
        return Stale(before)
    # The outputs alone may have changed; those who missed the news find the run by this number.
    changed = build_changed_values(before, after)
    assignments = "".join(f"{column} = %({column})s, " for column in changed)
    is_shared = before.is_batch and isinstance(event, Delivered | DeliveryCancelled)
    transaction.send(
        f"UPDATE runs SET {assignments}changed_number = nextval('changes') WHERE {_WITH_ROWS if is_shared else _ALONE}",  # noqa: S608 - our own words
        {**changed, "run_id": run_id},
    )
    write_outputs(transaction, run_id, [output for output in after.outputs if output not in before.outputs])
    if before.state in UNSTARTED and after.state not in UNSTARTED:
        transaction.send("DELETE FROM whole_arguments WHERE run_id = %s", (run_id,))
    is_resumed = isinstance(event, StartAcknowledged | Settled | Adopted) and lease != after.lease
    if is_resumed and await _is_queued(transaction, run_id):
        await add_job(transaction, after)
    post_change(transaction, after, NewsKind.CHANGED)
    return Recorded(after)


async def _is_queued(transaction: Transaction, run_id: str) -> bool:
    cursor = await transaction.execute("SELECT is_queued FROM runs WHERE id = %s", (run_id,))
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def _is_claimed(transaction: Transaction, run: Run, event: RunEvent) -> bool:
    """Return whether what was found by a search is a run of the provider that is another run of ours.

    An event that came to the address of the run is about this run.
    """
    if not isinstance(event, StartConfirmed) or event.witness is Witness.WEBHOOK:
        return False
    found = await transaction.execute(
        "SELECT 1 FROM runs WHERE account_id = %s AND provider_run_id = %s AND provider_run_id <> '' AND id <> %s",
        (run.account_id, event.provider_run_id, run.id),
    )
    return await found.fetchone() is not None


def remove_waiting(transaction: Transaction, *call_ids: str) -> None:
    """Forget calls."""
    transaction.send("DELETE FROM waiting_calls WHERE id = ANY(%s)", (list(call_ids),))


async def is_waited_for(transaction: Transaction, run_id: str) -> bool:
    """Return whether a call waits for a run."""
    cursor = await transaction.execute("SELECT 1 FROM waiting_calls WHERE run_id = %s LIMIT 1", (run_id,))
    return await cursor.fetchone() is not None


INSERT_RUN: Final = translate(build_insert("runs", (*RUN_COLUMNS, "folded_app", "folded_rest", "is_queued")))
REPLACING: Final = "ON CONFLICT (run_id, n) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in OUTPUT_COLUMNS if column != "n"
)
"""What follows outputs that replace those of the same number."""
_WRITE_OUTPUT: Final = f"{translate(build_insert('outputs', ('run_id', *OUTPUT_COLUMNS)))} {REPLACING}"
UNSTARTED: Final = frozenset({RunState.ACCEPTED, RunState.STARTING, RunState.UNKNOWN})
"""While a run is in one of these, its whole arguments may be needed."""
_ALONE: Final = "id = %(run_id)s"
_WITH_ROWS: Final = (
    "(id = %(run_id)s OR id IN (SELECT run_id FROM batch_rows WHERE batch_id = %(run_id)s AND run_id <> ''))"
)
"""A batch with its rows."""
