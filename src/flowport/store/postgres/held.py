"""What the holder of a run writes: one statement that commits by itself, made from what the holder knows of the run.

The statement names the number of the last change that the holder knows, so it changes nothing if anything else has changed the
run since. `operations.record_event` then reads the run and does the same. A statement whose answer is lost is sent again
until its fate is certain: of two that name one number, one alone can change the run, and the row says which one did.
"""

from collections.abc import Collection
from functools import cache
from typing import Any, Final

from flowport.domain.models import Run
from flowport.domain.run_events import (
    Finished,
    OutputSaved,
    Polled,
    RunEvent,
    StartAcknowledged,
    StartNotTaken,
    StartRequested,
    StartUnknown,
    apply,
)
from flowport.store.cluster import NewsKind
from flowport.store.postgres.database import Database
from flowport.store.postgres.operations import (
    REPLACING,
    SELECTED,
    UNSTARTED,
    build_change_news,
    build_provider_run_lock,
    parse_row,
)
from flowport.store.postgres.transaction import NEWS_CHANNEL, Transaction, format_news
from flowport.store.rows import OUTPUT_COLUMNS, RUN_COLUMNS, build_changed_values, build_output_values

MAX_KNOWN: Final = 2_000
"""Runs that a process remembers; of any other it reads the record."""

MAX_OUTPUTS: Final = 8
"""Outputs that one statement writes; each number of them is a statement of its own."""

_OWN: Final = frozenset({StartRequested, StartNotTaken, StartAcknowledged, StartUnknown, Polled, Finished, OutputSaved})
"""Events that only the holder of a run records, and that concern no other record."""

_OUTPUT_TYPES: Final = {
    "run_id": "text",
    **dict.fromkeys(OUTPUT_COLUMNS, "text"),
    **dict.fromkeys(("n", "size_bytes", "width", "height"), "bigint"),
    **dict.fromkeys(("duration_seconds", "expires_at"), "double precision"),
}

# A run that is not over has no outputs, so none is missed that was written while its row was locked.
_CLAIM: Final = (
    "WITH changed AS (UPDATE runs SET process_id = %(worker)s, lease = lease + 1, is_followed = true, "  # noqa: S608 - our own words
    "changed_number = nextval('changes'), changed_by = %(key)s "
    "WHERE id = %(run_id)s AND lease = %(lease)s AND finished_at IS NULL "
    f"RETURNING {SELECTED}, runs.changed_number, "
    "(SELECT whole_arguments.arguments_json FROM whole_arguments WHERE whole_arguments.run_id = runs.id)) "
    # Of a run that no process had until now, nothing changes that others know.
    "SELECT changed.*, CASE WHEN (SELECT runs.process_id FROM runs WHERE runs.id = %(run_id)s) <> '' THEN pg_notify(%(channel)s, json_build_object('kind', %(kind)s::text, 'run_id', id, "
    "'owner', CASE WHEN octet_length(owner) < 2000 THEN owner ELSE '' END, 'batch_id', batch_id, 'account_id', account_id, "
    "'goes_on', 'yes', 'from', %(origin)s::text)::text) END FROM changed"
)
_FIND_CLAIMED: Final = (
    f"SELECT {SELECTED}, changed_number, NULL FROM runs WHERE id = %(run_id)s AND changed_by = %(key)s"  # noqa: S608 - our own words
)
_FIND_CHANGED: Final = "SELECT 1 FROM runs WHERE id = %(run_id)s AND changed_by = %(key)s"


class HeldRuns:
    """The runs that this process holds, as it knows them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[Run, int]] = {}
        """Each run as of a change, with the number of that change, the longest known first."""
        self._arguments: dict[str, str] = {}
        """The whole arguments of runs that were claimed, until they are taken."""

    async def claim(self, run_id: str, worker: str, *, lease: int) -> Run | None:
        """Claim a run that is not over and return it; None where nothing was changed.

        Raises:
            StoreError: The database cannot be reached. It may have been claimed.
        """
        values = {
            "run_id": run_id,
            "worker": worker,
            "lease": lease,
            "key": self._database.draw_key(),
            "channel": NEWS_CHANNEL,
            "kind": NewsKind.CHANGED.value,
            "origin": self._database.origin,
        }

        async def claim(transaction: Transaction) -> tuple[Any, ...] | None:
            return await (await transaction.execute(_CLAIM, values)).fetchone()

        async def find(transaction: Transaction) -> tuple[Any, ...] | None:
            return await (await transaction.execute(_FIND_CLAIMED, values)).fetchone()

        row = await self._database.change(claim, find)
        if row is None:
            return None
        run = parse_row(row)
        number, arguments = row[len(RUN_COLUMNS) + 1 : len(RUN_COLUMNS) + 3]
        self._note(run, number)
        if arguments is not None:
            self._arguments[run.id] = arguments
        return run

    def take_arguments(self, run_id: str) -> str | None:
        """Return the whole arguments of a run that were read with its claim; None where they are to be read."""
        return self._arguments.pop(run_id, None)

    async def record(self, run_id: str, event: RunEvent, lease: int | None) -> Run | None:
        """Apply an event of the holder and return the run; None where nothing was changed.

        Raises:
            StoreError: The database cannot be reached. It may have been recorded.
        """
        if type(event) not in _OWN or run_id not in self._known:
            return None
        before, number = self._known.pop(run_id)
        after = apply(before, event)
        written = [output for output in after.outputs if output not in before.outputs]
        if lease != before.lease or after == before or len(written) > MAX_OUTPUTS:
            return None
        values: dict[str, Any] = build_changed_values(before, after)
        statement = _build_record(
            tuple(values),
            outputs=len(written),
            is_started=before.state in UNSTARTED and after.state not in UNSTARTED,
            is_locked=isinstance(event, StartAcknowledged),
        )
        values |= {"run_id": run_id, "known_number": number, "key": self._database.draw_key()}
        values |= {
            "channel": NEWS_CHANNEL,
            "news": format_news({**build_change_news(after, NewsKind.CHANGED), "from": self._database.origin}),
        }
        for place, output in enumerate(written):
            values |= {f"{column}_{place}": value for column, value in build_output_values(run_id, output).items()}
        if isinstance(event, StartAcknowledged):
            values["lock"] = build_provider_run_lock(event)

        async def change(transaction: Transaction) -> int | None:
            row = await (await transaction.execute(statement, values)).fetchone()
            return None if row is None else int(row[0])

        async def find(transaction: Transaction) -> int | None:
            row = await (await transaction.execute(_FIND_CHANGED, values)).fetchone()
            return None if row is None else 0

        changed_number = await self._database.change(change, find)
        if changed_number is None:
            return None
        # After a lost answer others may have changed the run as well.
        if changed_number:
            self._note(after, changed_number)
        return after

    def _note(self, run: Run, number: int) -> None:
        self._known.pop(run.id, None)
        self._known[run.id] = run, number
        if len(self._known) > MAX_KNOWN:
            self._arguments.pop(forgotten := next(iter(self._known)), None)
            del self._known[forgotten]


@cache
def _build_record(columns: Collection[str], *, outputs: int, is_started: bool, is_locked: bool) -> str:
    """Return the statement that changes these columns of a run, and writes so many outputs."""
    assignments = "".join(f"{column} = %({column})s, " for column in columns)
    parts = []
    if is_locked:
        # Joined to the run before its row is locked, in the order of `operations.record_event`.
        parts.append("locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtextextended(%(lock)s, 0)))")
    parts.append(
        f"changed AS (UPDATE runs SET {assignments}changed_number = nextval('changes'), changed_by = %(key)s "  # noqa: S608 - our own words
        f"{'FROM locked ' if is_locked else ''}WHERE runs.id = %(run_id)s AND runs.changed_number = %(known_number)s "
        "RETURNING runs.changed_number)"
    )
    if is_started:
        parts.append("freed AS (DELETE FROM whole_arguments USING changed WHERE run_id = %(run_id)s)")
    if outputs:
        rows = ", ".join(
            f"({', '.join(f'%({column}_{place})s::{kind}' for column, kind in _OUTPUT_TYPES.items())})"
            for place in range(outputs)
        )
        parts.append(
            f"written AS (INSERT INTO outputs ({', '.join(_OUTPUT_TYPES)}) "  # noqa: S608 - our own words
            f"SELECT given.* FROM changed, (VALUES {rows}) AS given {REPLACING})"
        )
    return f"WITH {', '.join(parts)} SELECT changed_number, pg_notify(%(channel)s, %(news)s) FROM changed"  # noqa: S608
