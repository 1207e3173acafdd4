"""What the holder of a run writes: a row of a statement that commits by itself, made from what the holder knows of the run.

The row names the number of the last change that the holder knows, so it changes nothing if anything else has changed the run
since. `operations.record_event` then reads the run and does the same. A statement whose answer is lost is sent again until
its fate is certain: of two rows that name one number, one alone can change the run, and the run says which one did.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, get_args, get_type_hints

from flowport.domain.models import Output, Run
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
from flowport.store.postgres.group_commit import GroupCommit, GroupStatement, clean_values
from flowport.store.postgres.operations import (
    REPLACING,
    SELECTED,
    UNSTARTED,
    build_change_news,
    build_provider_run_lock,
    parse_row,
)
from flowport.store.postgres.transaction import NEWS_CHANNEL, format_news
from flowport.store.rows import OUTPUT_COLUMNS, RUN_COLUMNS, build_changed_values, build_output_values

MAX_KNOWN: Final = 2_000
"""Runs that a process remembers; of any other it reads the record."""

_OWN: Final = frozenset({StartRequested, StartNotTaken, StartAcknowledged, StartUnknown, Polled, Finished, OutputSaved})
"""Events that only the holder of a run records, and that concern no other record."""


def _build_types(record: type, columns: Sequence[str]) -> dict[str, str]:
    """Return the types of the columns of a record, as the tables have them."""
    hints = get_type_hints(record)
    return {
        column: next((_TYPES[one] for one in get_args(hints[column]) or (hints[column],) if one in _TYPES), "text")
        for column in columns
    }


_TYPES: Final[dict[object, str]] = {bool: "boolean", int: "bigint", float: "double precision"}
_RUN_TYPES: Final = _build_types(Run, RUN_COLUMNS)
_OUTPUT_TYPES: Final = _build_types(Output, OUTPUT_COLUMNS)


def _build_given(types: Mapping[str, str]) -> str:
    """Return the first part of a statement, its rows, which have columns of these types besides."""
    columns = ", ".join(f"{column} {kind}" for column, kind in {"run_id": "text", "key": "text", **types}.items())
    return f"given AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s::json) AS given ({columns}))"  # noqa: S608 - our own words


# Another transaction may hold the row of a run for long. That run is left to the statement that waits for it, alone.
_FREE: Final = """
    runs JOIN given ON runs.id = given.run_id WHERE runs.id = ANY(%(ids)s) AND {condition} FOR UPDATE OF runs SKIP LOCKED
"""
_IS_CLAIMABLE: Final = "runs.lease = given.lease AND runs.finished_at IS NULL"
# A transaction that claims the run after that leaves the key as it is.
_IS_CLAIMED: Final = "runs.process_id = given.process_id AND runs.lease = given.lease + 1"
_CLAIMS: Final = _build_given({"process_id": "text", "lease": "bigint"})
_IS_KNOWN: Final = "runs.changed_number = given.known_number"

# A run that is not over has no outputs, so none is missed that was written before its row was locked.
# Of a run that no process had until now, nothing changes that others know.
_CLAIM: Final = GroupStatement(
    f"""
    WITH {_CLAIMS},
    free AS (SELECT runs.id, runs.process_id AS earlier_process_id FROM {_FREE.format(condition=_IS_CLAIMABLE)}),
    changed AS (UPDATE runs
        SET process_id = given.process_id, lease = runs.lease + 1, is_followed = true,
            changed_number = nextval('changes'), changed_by = given.key
        FROM free JOIN given ON given.run_id = free.id
        WHERE runs.id = free.id AND {_IS_CLAIMABLE}
        RETURNING given.key, free.earlier_process_id, {SELECTED}, runs.changed_number,
            (SELECT whole_arguments.arguments_json FROM whole_arguments WHERE whole_arguments.run_id = runs.id))
    SELECT changed.*, CASE WHEN earlier_process_id <> '' THEN pg_notify(%(channel)s, json_build_object(
        'kind', %(kind)s::text, 'run_id', id, 'owner', CASE WHEN octet_length(owner) < 2000 THEN owner ELSE '' END,
        'batch_id', batch_id, 'account_id', account_id, 'goes_on', 'yes', 'from', %(origin)s::text)::text) END
    FROM changed
    """,  # noqa: S608 - our own words
    f"""
    WITH {_CLAIMS}
    SELECT given.key, '', {SELECTED}, changed_number, NULL
    FROM runs JOIN given ON runs.id = given.run_id AND {_IS_CLAIMED} WHERE runs.id = ANY(%(ids)s) AND changed_by = given.key
    """,  # noqa: S608 - our own words
)
_FIND_CHANGED: Final = "SELECT changed_by, 0 FROM runs WHERE id = ANY(%(ids)s) AND changed_by = ANY(%(keys)s)"


class HeldRuns:
    """The runs that this process holds, as it knows them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._commits = GroupCommit(
            database, {"channel": NEWS_CHANNEL, "kind": NewsKind.CHANGED.value, "origin": database.origin}
        )
        self._known: dict[str, tuple[Run, int]] = {}
        """Each run as of a change, with the number of that change, the longest known first."""
        self._arguments: dict[str, str] = {}
        """The whole arguments of runs that were claimed, until they are taken."""

    async def claim(self, run_id: str, worker: str, *, lease: int, key: str) -> Run | None:
        """Claim a run that is not over and return it; None where nothing was changed, as far as is known.

        Raises:
            StoreError: The database cannot be reached. It may have been claimed.
        """
        row = await self._commits.change(_CLAIM, {"run_id": run_id, "process_id": worker, "lease": lease}, key)
        if row is None:
            return None
        run = parse_row(row[2:])
        number, arguments = row[len(RUN_COLUMNS) + 3 : len(RUN_COLUMNS) + 5]
        self._note(run, number)
        if arguments is not None:
            self._arguments[run.id] = arguments
        return run

    def take_arguments(self, run_id: str) -> str | None:
        """Return the whole arguments of a run that were read with its claim; None where they are to be read."""
        return self._arguments.pop(run_id, None)

    async def record(self, run_id: str, event: RunEvent, lease: int | None, *, key: str) -> Run | None:
        """Apply an event of the holder and return the run; None where nothing was changed, as far as is known.

        Raises:
            StoreError: The database cannot be reached. It may have been recorded.
        """
        if type(event) not in _OWN or run_id not in self._known:
            return None
        before, number = self._known.pop(run_id)
        after = apply(before, event)
        if lease != before.lease or after == before:
            return None
        changed = build_changed_values(before, after)
        statement = _build_record(
            tuple(changed),
            has_outputs=after.outputs != before.outputs,
            is_started=before.state in UNSTARTED and after.state not in UNSTARTED,
            is_locked=isinstance(event, StartAcknowledged),
        )
        values: dict[str, Any] = {
            **changed,
            "run_id": run_id,
            "known_number": number,
            "news": format_news({**build_change_news(after, NewsKind.CHANGED), "from": self._database.origin}),
        }
        if after.outputs != before.outputs:
            written = [output for output in after.outputs if output not in before.outputs]
            values["outputs"] = [clean_values(build_output_values(run_id, output)) for output in written]
        if isinstance(event, StartAcknowledged):
            values["lock"] = build_provider_run_lock(event)
        row = await self._commits.change(statement, values, key)
        if row is None:
            return None
        # After a lost answer others may have changed the run as well.
        if changed_number := row[1]:
            self._note(after, changed_number)
        return after

    def _note(self, run: Run, number: int) -> None:
        self._known.pop(run.id, None)
        self._known[run.id] = run, number
        if len(self._known) > MAX_KNOWN:
            self._arguments.pop(forgotten := next(iter(self._known)), None)
            del self._known[forgotten]


@cache
def _build_record(columns: Sequence[str], *, has_outputs: bool, is_started: bool, is_locked: bool) -> GroupStatement:
    """Return the statement that changes these columns of runs, and writes their outputs."""
    others = {"known_number": "bigint", "news": "text", "lock": "text", "outputs": "json"}
    parts = [_build_given({**others, **{column: _RUN_TYPES[column] for column in columns}})]
    source = _FREE.format(condition=_IS_KNOWN)
    if is_locked:
        # Waiting for one of these locks would delay the whole group.
        parts.append("""
            locked AS MATERIALIZED (SELECT key AS locked_key FROM given WHERE pg_try_advisory_xact_lock(hashtextextended(lock, 0)))
        """)
        source = f"locked, {_FREE.format(condition=f'{_IS_KNOWN} AND locked.locked_key = given.key')}"
    assignments = "".join(f"{column} = given.{column}, " for column in columns)
    parts.append(f"free AS (SELECT runs.id FROM {source})")  # noqa: S608 - our own words
    parts.append(
        f"""
        changed AS (UPDATE runs SET {assignments}changed_number = nextval('changes'), changed_by = given.key
            FROM free JOIN given ON given.run_id = free.id WHERE runs.id = free.id AND {_IS_KNOWN}
            RETURNING runs.id, runs.owner, runs.changed_number, given.key, given.news, given.outputs)
        """  # noqa: S608 - our own words
    )
    if is_started:
        parts.append("freed AS (DELETE FROM whole_arguments USING changed WHERE run_id = changed.id)")
    if has_outputs:
        # Each saved file changes a sum of its owner: two groups lock these rows in one order.
        types = ", ".join(f"{column} {kind}" for column, kind in _OUTPUT_TYPES.items())
        parts.append(
            f"""
            written AS (INSERT INTO outputs (run_id, {", ".join(_OUTPUT_TYPES)})
                SELECT changed.id, one.* FROM changed, json_to_recordset(changed.outputs) AS one ({types})
                ORDER BY changed.owner, changed.id {REPLACING})
            """  # noqa: S608 - our own words
        )
    text = f"WITH {', '.join(parts)} SELECT key, changed_number, pg_notify(%(channel)s, news) FROM changed"  # noqa: S608
    return GroupStatement(text, _FIND_CHANGED)
