"""The store's reads about runs. Each function is one operation inside the worker's snapshot.

Every one of them is answered from an index: a store of 100,000 runs must not be slower to list than one of ten.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, TypeVar

from flowport.domain.errors import RunNotFound
from flowport.domain.models import FINAL_STATES, Output, OutputKind, Run, RunState, get_url_place
from flowport.store.records import AppHistory, RunSearch
from flowport.store.sqlite.rows import OUTPUT_COLUMNS, RUN_COLUMNS, parse_output, parse_run

T = TypeVar("T")

RUN_LIST: Final = ", ".join(f"runs.{column}" for column in RUN_COLUMNS)
_OUTPUT_LIST: Final = ", ".join(("run_id", *OUTPUT_COLUMNS))
_FINAL: Final = ", ".join(f"'{state}'" for state in RunState if state in FINAL_STATES)
_LIVE: Final = ", ".join(f"'{state}'" for state in RunState if state not in FINAL_STATES)
_ONE_RUN: Final = f"SELECT {RUN_LIST} FROM runs WHERE id = ?"  # noqa: S608 - our own words
# The plus keeps SQLite from walking an owner's runs state by state: it is to take the index of the few undelivered.
IS_UNSEEN: Final = f"(runs.delivered_at IS NULL AND +runs.state IN ({_FINAL}))"
IS_ALONE: Final = "runs.batch_id = ''"
"""Of a batch with its rows the batch alone."""

# An ended run has an instant of its end; the state is compared too, without an index, because it decides.
IS_LIVE: Final = f"(runs.finished_at IS NULL AND +runs.state IN ({_LIVE}))"


def get_run(connection: sqlite3.Connection, run_id: str, *, account_id: str | None, owner: str) -> Run:
    """Return one run of an owner."""
    run = find_run(connection, run_id)
    if run is None or run.owner != owner or account_id not in {None, run.account_id}:
        raise RunNotFound(run_id)
    return run


def find_run(connection: sqlite3.Connection, run_id: str) -> Run | None:
    """Return one run of any owner; None when there is none."""
    row = connection.execute(_ONE_RUN, (run_id,)).fetchone()
    if row is None:
        return None
    outputs = connection.execute(f"SELECT {_OUTPUT_LIST} FROM outputs WHERE run_id = ? ORDER BY n", (run_id,))  # noqa: S608 - our own words
    return parse_run(row, map(parse_output, outputs))


def get_run_by_output_url(connection: sqlite3.Connection, url: str, *, owner: str) -> Run:
    """Return the newest run with an output at the URL, or the only one at the URL with another query.

    Raises:
        RunNotFound: There is none.
    """
    rows = connection.execute(
        f"SELECT {RUN_LIST} FROM outputs JOIN runs ON runs.id = outputs.run_id "  # noqa: S608 - our own words
        "WHERE outputs.url = ? AND runs.owner = ? ORDER BY runs.accepted_at DESC, runs.id DESC LIMIT 1",
        (url, owner),
    )
    place = get_url_place(url)
    found = build_runs(connection, rows) or _select_runs_by_place(connection, place, owner=owner)
    return _get_only(found, place)


def _select_runs_by_place(connection: sqlite3.Connection, place: str, *, owner: str) -> tuple[Run, ...]:
    # The text after a place and its "?" sorts before the same with "@", the next character.
    rows = connection.execute(
        f"SELECT {RUN_LIST} FROM outputs JOIN runs ON runs.id = outputs.run_id "  # noqa: S608 - our own words
        "WHERE outputs.url >= ? AND outputs.url < ? AND runs.owner = ? LIMIT 2",
        (f"{place}?", f"{place}@", owner),
    ).fetchall()
    # Where two outputs share a place, only their queries differ, so it is unknown which was meant.
    return build_runs(connection, rows) if len(rows) == 1 else ()


def get_runs(
    connection: sqlite3.Connection,
    *,
    account_id: str | None,
    owner: str,
    limit: int,
    before: str | None = None,
    unseen_first: bool,
    state: RunState | None = None,
    search: RunSearch | None = None,
) -> tuple[Run, ...]:
    """Return a page of runs, newest first, on request those first that have ended and were not delivered."""
    select = partial(_select_page, connection, account_id=account_id, owner=owner, state=state, search=search)
    start = None if before is None else get_run(connection, before, account_id=account_id, owner=owner)
    if not unseen_first:
        return select("", limit=limit, start=start)
    unseen: tuple[Run, ...] = ()
    if start is None or (start.delivered_at is None and start.state.is_final):
        unseen = select(IS_UNSEEN, limit=limit, start=start)
        start = None  # the others begin at their newest
    return unseen + select(f"NOT {IS_UNSEEN}", limit=limit - len(unseen), start=start)


def count_unseen(connection: sqlite3.Connection, *, owner: str) -> int:
    """Return how many of an owner's runs have ended and were not delivered."""
    # All undelivered ones, which the index alone tells, but for the few of them that are live.
    undelivered = "SELECT count(*) FROM runs WHERE owner = ? AND delivered_at IS NULL AND batch_id = ''"
    queries = (undelivered, f"{undelivered} AND {IS_LIVE}")
    found, live = (int(connection.execute(query, (owner,)).fetchone()[0]) for query in queries)
    return found - live


def get_runs_under_way(connection: sqlite3.Connection, *, owner: str, limit: int) -> tuple[Run, ...]:
    """Return an owner's newest runs and batches, without the batches' rows, that are not over; newest first."""
    rows = connection.execute(
        f"SELECT {RUN_LIST} FROM runs WHERE owner = ? AND {IS_LIVE} AND +{IS_ALONE} "  # noqa: S608 - our own words
        "ORDER BY accepted_at DESC, id DESC LIMIT ?",
        (owner, limit),
    )
    return build_runs(connection, rows)


def get_live_runs(connection: sqlite3.Connection, *, account_id: str) -> tuple[Run, ...]:
    """Return the runs that are not over, oldest first."""
    rows = connection.execute(
        f"SELECT {RUN_LIST} FROM runs WHERE account_id = ? AND {IS_LIVE} ORDER BY accepted_at, id",  # noqa: S608 - our own words
        (account_id,),
    )
    return build_runs(connection, rows)


def get_unsaved_runs(connection: sqlite3.Connection, *, account_id: str, now: float, since: float) -> tuple[Run, ...]:
    """Return the runs that are over and have outputs without a file whose links may work, oldest first."""
    rows = connection.execute(
        f"SELECT {RUN_LIST} FROM runs WHERE id IN "  # noqa: S608 - our own words
        "(SELECT run_id FROM outputs WHERE saved_path = '' AND url IS NOT NULL "
        "AND (expires_at IS NULL OR expires_at > :now OR save_problem = '')) "
        f"AND +account_id = :account_id AND +state IN ({_FINAL}) AND finished_at > :since ORDER BY accepted_at, id",
        {"account_id": account_id, "now": now, "since": since},
    )
    return build_runs(connection, rows)


def get_needed_provider_ids(connection: sqlite3.Connection, *, account_id: str) -> frozenset[str]:
    """Return the provider's ids of an account's runs that were not delivered."""
    rows = connection.execute(
        "SELECT provider_run_id FROM runs WHERE account_id = ? AND provider_run_id <> '' AND delivered_at IS NULL",
        (account_id,),
    )
    return frozenset(row[0] for row in rows)


def get_stranded_runs(connection: sqlite3.Connection, *, scope: str, account_id: str, limit: int) -> tuple[Run, ...]:
    """Return the unseen runs of other accounts of a scope that the account has not tried, oldest first."""
    rows = connection.execute(
        f"SELECT {RUN_LIST} FROM runs WHERE delivered_at IS NULL "  # noqa: S608 - our own words
        # The accounts of a scope sort between it with ":" and with ";", the next character. A fingerprint holds no colon.
        "AND account_id > :prefix AND account_id < :end "
        "AND instr(substr(account_id, length(:prefix) + 1), ':') = 0 AND account_id <> :account_id "
        "AND adoption_tried_by <> :account_id AND row_count = 0 "
        f"AND (provider_run_id <> '' OR state IN ({_LIVE})) ORDER BY accepted_at, id LIMIT :limit",
        {"prefix": f"{scope}:", "end": f"{scope};", "account_id": account_id, "limit": limit},
    )
    return build_runs(connection, rows)


def get_durations(
    connection: sqlite3.Connection, *, account_id: str, app_id: str, limit: int = 20
) -> tuple[float, ...]:
    """Return the seconds from started to finished of successful runs, newest first."""
    rows = connection.execute(
        "SELECT finished_at - started_at FROM runs WHERE account_id = ? AND app_id = ? AND state = ? "
        # A clock that was set back meanwhile would make a duration of less than nothing.
        "AND started_at <= finished_at ORDER BY finished_at DESC LIMIT ?",
        (account_id, app_id, RunState.SUCCEEDED, limit),
    )
    return tuple(row[0] for row in rows)


_HISTORIES: Final = """
SELECT json_each.value AS app_id, runs.state, runs.finished_at - runs.started_at AS seconds,
    (SELECT group_concat(DISTINCT kind) FROM outputs WHERE outputs.run_id = runs.id) AS kinds
FROM json_each(:app_ids) CROSS JOIN runs ON runs.rowid IN (
    SELECT rowid FROM runs AS latest
    WHERE latest.account_id = :account_id AND latest.app_id = json_each.value AND latest.state IN ('succeeded', 'partial')
    ORDER BY latest.finished_at DESC LIMIT :limit
)
ORDER BY runs.finished_at DESC
"""
"""The latest runs of each app, each found by the index of its app's ends."""


def get_histories(
    connection: sqlite3.Connection, *, account_id: str, app_ids: Sequence[str], limit: int = 20
) -> dict[str, AppHistory]:
    """Return what each app's latest runs tell; a partial one tells what is made, but not how long it takes."""
    values = {"app_ids": json.dumps(app_ids), "account_id": account_id, "limit": limit}
    found: dict[str, AppHistory] = {}
    for row in connection.execute(_HISTORIES, values):
        history = found.get(row["app_id"], AppHistory())
        is_timed = row["state"] == RunState.SUCCEEDED and row["seconds"] is not None
        durations = history.durations + ((row["seconds"],) if is_timed else ())
        kinds = history.kinds | {OutputKind(kind) for kind in (row["kinds"] or "").split(",") if kind}
        found[row["app_id"]] = AppHistory(durations, kinds)
    return found


def get_used_apps(connection: sqlite3.Connection, *, account_id: str, since: float) -> frozenset[str]:
    """Return the ids of the apps whose runs were accepted since an instant."""
    rows = connection.execute(
        "SELECT DISTINCT app_id FROM runs WHERE account_id = ? AND accepted_at >= ?", (account_id, since)
    )
    return frozenset(row["app_id"] for row in rows)


def _select_page(
    connection: sqlite3.Connection,
    condition: str,
    *,
    account_id: str | None,
    owner: str,
    state: RunState | None,
    search: RunSearch | None,
    limit: int,
    start: Run | None,
) -> tuple[Run, ...]:
    if limit <= 0:
        return ()
    searched, values = _build_search(connection, search or RunSearch())
    conditions = [
        "runs.owner = :owner",
        "" if account_id is None else "+runs.account_id = :account_id",
        "" if state is None else "runs.state = :state",
        IS_ALONE,
        condition,
        "" if start is None else "(runs.accepted_at, runs.id) < (:accepted_at, :start_id)",
        *searched,
    ]
    rows = connection.execute(
        f"SELECT {RUN_LIST} FROM runs WHERE {' AND '.join(filter(None, conditions))} "  # noqa: S608 - our own words
        "ORDER BY runs.accepted_at DESC, runs.id DESC LIMIT :limit",
        {
            "owner": owner,
            "account_id": account_id,
            "state": state,
            "accepted_at": start and start.accepted_at,
            "start_id": start and start.id,
            "limit": limit,
            **values,
        },
    )
    return build_runs(connection, rows)


def _build_search(connection: sqlite3.Connection, search: RunSearch) -> tuple[list[str], dict[str, str | float]]:
    """Return the conditions of a search and their values. Only the text is not answered from the index."""
    conditions: list[str] = []
    values: dict[str, str | float] = {}
    if search.is_live:
        conditions.append(IS_LIVE)
    for name, operator, instant in (("since", ">=", search.since), ("until", "<", search.until)):
        if instant is not None:
            conditions.append(f"runs.accepted_at {operator} :{name}")
            values[name] = instant
    if search.words or search.app:
        # SQLite itself knows the case of ASCII letters only.
        connection.create_function("fold", 1, str.casefold, deterministic=True)
    if search.app:
        conditions.append(f"instr({_APP_TEXT}, :app)")
        values["app"] = search.app.casefold()
    for place, word in enumerate(search.words):
        conditions.append(f"(instr({_RUN_TEXT}, :word{place}) OR EXISTS ({_ROW_WITH.format(place=place)}))")
        values[f"word{place}"] = word.casefold()
    return conditions, values


_APP_TEXT: Final = "fold(runs.app_name || ' ' || runs.tool_name)"
_RUN_TEXT: Final = "fold(runs.app_name || ' ' || runs.tool_name || ' ' || runs.id || ' ' || runs.arguments_json)"
_ROW_WITH: Final = "SELECT 1 FROM batch_rows WHERE batch_rows.batch_id = runs.id AND instr(fold(batch_rows.display_json), :word{place})"


def get_last_delivered(connection: sqlite3.Connection, *, owner: str) -> Run | None:
    """Return the owner's run with outputs that was delivered last."""
    rows = connection.execute(
        f"SELECT {RUN_LIST} FROM runs WHERE runs.owner = :owner AND runs.delivered_at IS NOT NULL "  # noqa: S608 - our own words
        "AND EXISTS (SELECT 1 FROM outputs WHERE outputs.run_id = runs.id) "
        "ORDER BY runs.delivered_at DESC, runs.rowid DESC LIMIT 1",
        {"owner": owner},
    )
    return next(iter(build_runs(connection, rows)), None)


def build_runs(connection: sqlite3.Connection, rows: Iterable[sqlite3.Row]) -> tuple[Run, ...]:
    """Join each run with its outputs, by one query for all of them."""
    found = list(rows)
    outputs: dict[str, list[Output]] = {row["id"]: [] for row in found}
    # A list of any length as one parameter.
    for row in connection.execute(
        f"SELECT {_OUTPUT_LIST} FROM outputs WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY run_id, n",  # noqa: S608 - our own words
        (json.dumps(list(outputs)),),
    ):
        outputs[row["run_id"]].append(parse_output(row))
    return tuple(parse_run(row, outputs[row["id"]]) for row in found)


def _get_only(found: Sequence[T], run_id: str) -> T:
    if not found:
        raise RunNotFound(run_id)
    return found[0]
