"""The reads about runs of the SQLite store, each answered from an index: 100,000 runs are listed as quickly as ten."""

import json
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Final

from flowport.domain.errors import RunNotFound
from flowport.domain.models import OutputKind, Run, RunState, get_url_place
from flowport.store.records import AppHistory, RunSearch
from flowport.store.rows import LIVE
from flowport.store.sqlite.operations import IS_ALONE, IS_LIVE, IS_OVER, IS_UNDELIVERED, find_run, reads, select_runs

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


class RunQueries:
    """See `store.run_queries`."""

    @reads
    def get_run(self, connection: sqlite3.Connection, run_id: str, *, account_id: str | None, owner: str) -> Run:
        return _require_run(connection, run_id, account_id=account_id, owner=owner)

    @reads
    def find_run_at_provider(
        self, connection: sqlite3.Connection, provider_run_id: str, *, account_id: str
    ) -> Run | None:
        source = "runs WHERE account_id = ? AND provider_run_id = ? AND provider_run_id <> '' LIMIT 1"
        return next(iter(select_runs(connection, source, (account_id, provider_run_id))), None)

    @reads
    def get_run_by_output_url(self, connection: sqlite3.Connection, url: str, *, owner: str) -> Run:
        source = "outputs JOIN runs ON runs.id = outputs.run_id WHERE runs.owner = ?"
        newest = f"{source} AND outputs.url = ? ORDER BY runs.accepted_at DESC, runs.id DESC LIMIT 1"
        if found := select_runs(connection, newest, (owner, url)):
            return found[0]
        # The text after a place and its "?" sorts before the same with "@", the next character.
        place = get_url_place(url)
        near = f"{source} AND outputs.url >= ? AND outputs.url < ? LIMIT 2"
        found = select_runs(connection, near, (owner, f"{place}?", f"{place}@"))
        # Where two outputs share a place, only their queries differ, so it is unknown which was meant.
        if len(found) != 1:
            raise RunNotFound(place)
        return found[0]

    @reads
    def get_run_of_any_owner(self, connection: sqlite3.Connection, run_id: str) -> Run:
        run = find_run(connection, run_id)
        if run is None:
            raise RunNotFound(run_id)
        return run

    @reads
    def get_runs(
        self,
        connection: sqlite3.Connection,
        *,
        account_id: str | None,
        owner: str,
        limit: int,
        before: str | None = None,
        undelivered_first: bool,
        state: RunState | None = None,
        search: RunSearch | None = None,
    ) -> tuple[Run, ...]:
        select = partial(_select_page, connection, account_id=account_id, owner=owner, state=state, search=search)
        start = None if before is None else _require_run(connection, before, account_id=account_id, owner=owner)
        if not undelivered_first:
            return select("", limit=limit, start=start)
        unseen: tuple[Run, ...] = ()
        if start is None or (start.delivered_at is None and start.state.is_final):
            unseen = select(IS_UNDELIVERED, limit=limit, start=start)
            start = None  # the others begin at their newest
        return unseen + select(f"NOT {IS_UNDELIVERED}", limit=limit - len(unseen), start=start)

    @reads
    def count_undelivered(self, connection: sqlite3.Connection, *, owner: str) -> int:
        # All undelivered ones, which the index alone counts, but for the few of them that are live.
        undelivered = "SELECT count(*) FROM runs WHERE owner = ? AND delivered_at IS NULL AND batch_id = ''"
        queries = (undelivered, f"{undelivered} AND {IS_LIVE}")
        found, live = (int(connection.execute(query, (owner,)).fetchone()[0]) for query in queries)
        return found - live

    @reads
    def get_runs_under_way(self, connection: sqlite3.Connection, *, owner: str, limit: int) -> tuple[Run, ...]:
        condition = f"owner = ? AND {IS_LIVE} AND +{IS_ALONE} ORDER BY accepted_at DESC, id DESC LIMIT ?"
        return select_runs(connection, f"runs WHERE {condition}", (owner, limit))

    @reads
    def get_live_runs(self, connection: sqlite3.Connection, *, account_id: str) -> tuple[Run, ...]:
        condition = f"account_id = ? AND {IS_LIVE} ORDER BY accepted_at, id"
        return select_runs(connection, f"runs WHERE {condition}", (account_id,))

    @reads
    def get_unknown_runs(
        self, connection: sqlite3.Connection, *, account_id: str, since: float, limit: int
    ) -> tuple[Run, ...]:
        condition = "account_id = ? AND state = 'unknown' AND unknown_at >= ? ORDER BY unknown_at, id LIMIT ?"
        return select_runs(connection, f"runs WHERE {condition}", (account_id, since, limit))

    @reads
    def get_known_urls(self, connection: sqlite3.Connection, urls: Sequence[str]) -> frozenset[str]:
        query = "SELECT 1 FROM outputs WHERE url = ? OR (url >= ? AND url < ?) LIMIT 1"
        # As in `get_run_by_output_url`.
        places = ((url, get_url_place(url)) for url in urls)
        known = ((url, connection.execute(query, (url, f"{place}?", f"{place}@")).fetchone()) for url, place in places)
        return frozenset(url for url, found in known if found is not None)

    @reads
    def get_unsaved_runs(
        self, connection: sqlite3.Connection, *, account_id: str, now: float, since: float
    ) -> tuple[Run, ...]:
        return select_runs(
            connection,
            "runs WHERE id IN (SELECT run_id FROM outputs WHERE saved_path = '' AND url IS NOT NULL "  # noqa: S608 - our own words
            "AND (expires_at IS NULL OR expires_at > :now OR save_problem = '')) "
            f"AND +account_id = :account_id AND +{IS_OVER} AND finished_at > :since ORDER BY accepted_at, id",
            {"account_id": account_id, "now": now, "since": since},
        )

    @reads
    def get_needed_provider_ids(self, connection: sqlite3.Connection, *, account_id: str) -> frozenset[str]:
        rows = connection.execute(
            "SELECT provider_run_id FROM runs WHERE account_id = ? AND provider_run_id <> '' AND delivered_at IS NULL",
            (account_id,),
        )
        return frozenset(row[0] for row in rows)

    @reads
    def get_stranded_runs(
        self, connection: sqlite3.Connection, *, scope: str, account_id: str, limit: int
    ) -> tuple[Run, ...]:
        return select_runs(
            connection,
            # The accounts of a scope sort between it with ":" and with ";", the next character. A fingerprint holds no colon.
            "runs WHERE delivered_at IS NULL AND account_id > :prefix AND account_id < :end "
            "AND instr(substr(account_id, length(:prefix) + 1), ':') = 0 AND account_id <> :account_id "
            "AND adoption_tried_by <> :account_id AND row_count = 0 "
            f"AND (provider_run_id <> '' OR state IN ({LIVE})) ORDER BY accepted_at, id LIMIT :limit",
            {"prefix": f"{scope}:", "end": f"{scope};", "account_id": account_id, "limit": limit},
        )

    @reads
    def get_last_delivered(self, connection: sqlite3.Connection, *, owner: str) -> Run | None:
        found = select_runs(
            connection,
            "runs WHERE runs.owner = ? AND runs.delivered_at IS NOT NULL "
            "AND EXISTS (SELECT 1 FROM outputs WHERE outputs.run_id = runs.id) "
            "ORDER BY runs.delivered_at DESC, runs.rowid DESC LIMIT 1",
            (owner,),
        )
        return next(iter(found), None)

    @reads
    def get_durations(
        self, connection: sqlite3.Connection, *, account_id: str, app_id: str, limit: int = 20
    ) -> tuple[float, ...]:
        rows = connection.execute(
            "SELECT finished_at - started_at FROM runs WHERE account_id = ? AND app_id = ? AND state = ? "
            # A clock that was set back meanwhile would make a negative duration.
            "AND started_at <= finished_at ORDER BY finished_at DESC LIMIT ?",
            (account_id, app_id, RunState.SUCCEEDED, limit),
        )
        return tuple(row[0] for row in rows)

    @reads
    def get_histories(
        self, connection: sqlite3.Connection, *, account_id: str, app_ids: Sequence[str], limit: int = 20
    ) -> dict[str, AppHistory]:
        values = {"app_ids": json.dumps(app_ids), "account_id": account_id, "limit": limit}
        found: dict[str, AppHistory] = {}
        for row in connection.execute(_HISTORIES, values):
            history = found.get(row["app_id"], AppHistory())
            # A partial run shows what is made, but not how long it takes.
            is_timed = row["state"] == RunState.SUCCEEDED and row["seconds"] is not None
            durations = history.durations + ((row["seconds"],) if is_timed else ())
            kinds = history.kinds | {OutputKind(kind) for kind in (row["kinds"] or "").split(",") if kind}
            found[row["app_id"]] = AppHistory(durations, kinds)
        return found

    @reads
    def get_used_apps(self, connection: sqlite3.Connection, *, account_id: str, since: float) -> frozenset[str]:
        rows = connection.execute(
            "SELECT DISTINCT app_id FROM runs WHERE account_id = ? AND accepted_at >= ?", (account_id, since)
        )
        return frozenset(row["app_id"] for row in rows)


def _require_run(connection: sqlite3.Connection, run_id: str, *, account_id: str | None, owner: str) -> Run:
    run = find_run(connection, run_id)
    if run is None or run.owner != owner or account_id not in {None, run.account_id}:
        raise RunNotFound(run_id)
    return run


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
    return select_runs(
        connection,
        f"runs WHERE {' AND '.join(filter(None, conditions))} ORDER BY runs.accepted_at DESC, runs.id DESC LIMIT :limit",
        {
            "owner": owner,
            "account_id": account_id,
            "state": state,
            "accepted_at": start.accepted_at if start else None,
            "start_id": start.id if start else None,
            "limit": limit,
            **values,
        },
    )


_APP_TEXT: Final = "fold(runs.app_name || ' ' || runs.tool_name)"
_RUN_TEXT: Final = "fold(runs.app_name || ' ' || runs.tool_name || ' ' || runs.id || ' ' || runs.arguments_json)"
_ROWS_WITH: Final = "SELECT 1 FROM batch_rows WHERE batch_rows.batch_id = runs.id AND instr(fold(display_json), "


def _build_search(connection: sqlite3.Connection, search: RunSearch) -> tuple[list[str], dict[str, str | float]]:
    """Return the conditions of a search and their values. Only the text is not answered from the index."""
    conditions = [IS_LIVE] if search.is_live else []
    values: dict[str, str | float] = {}
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
        in_rows = f"EXISTS ({_ROWS_WITH}:word{place}))"
        conditions.append(f"(instr({_RUN_TEXT}, :word{place}) OR {in_rows})")
        values[f"word{place}"] = word.casefold()
    return conditions, values
