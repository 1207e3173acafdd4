"""The reads about runs of the SQLite store, each answered from an index: 100,000 runs are listed as quickly as ten."""

import json
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Final

from flowport.domain.errors import RunNotFound
from flowport.domain.models import Run, RunState, get_url_place
from flowport.store.records import AppHistory, RunSearch
from flowport.store.rows import Value
from flowport.store.sqlite.operations import IS_ALONE, IS_LIVE, IS_OVER, IS_UNDELIVERED, find_run, reads, select_runs
from flowport.store.statements import (
    DURATIONS,
    NEEDED_PROVIDER_IDS,
    NEWEST_WITH_URL,
    RUN_AT_PROVIDER,
    RUNS_WITH_OUTPUT,
    UNKNOWN_RUNS,
    USED_APPS,
    build_page,
    build_search,
    build_stranded_source,
    collect_histories,
    require_run,
)

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
_STRANDED: Final = build_stranded_source("instr(substr(account_id, length(:prefix) + 1), ':') = 0")


class RunQueries:
    """See `store.run_queries`."""

    @reads
    def get_run(self, connection: sqlite3.Connection, run_id: str, *, account_id: str | None, owner: str) -> Run:
        return require_run(find_run(connection, run_id), run_id, account_id=account_id, owner=owner)

    @reads
    def find_run_at_provider(
        self, connection: sqlite3.Connection, provider_run_id: str, *, account_id: str
    ) -> Run | None:
        values: dict[str, Value] = {"account_id": account_id, "provider_run_id": provider_run_id}
        return next(iter(select_runs(connection, RUN_AT_PROVIDER, values)), None)

    @reads
    def get_run_by_output_url(self, connection: sqlite3.Connection, url: str, *, owner: str) -> Run:
        if found := select_runs(connection, NEWEST_WITH_URL, {"owner": owner, "url": url}):
            return found[0]
        # The text after a place and its "?" sorts before the same with "@", the next character.
        place = get_url_place(url)
        near = f"{RUNS_WITH_OUTPUT} AND outputs.url >= :begin AND outputs.url < :end LIMIT 2"
        found = select_runs(connection, near, {"owner": owner, "begin": f"{place}?", "end": f"{place}@"})
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
        start = None
        if before is not None:
            start = require_run(find_run(connection, before), before, account_id=account_id, owner=owner)
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
        return select_runs(connection, UNKNOWN_RUNS, {"account_id": account_id, "since": since, "limit": limit})

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
        return frozenset(row[0] for row in connection.execute(NEEDED_PROVIDER_IDS, {"account_id": account_id}))

    @reads
    def get_stranded_runs(
        self, connection: sqlite3.Connection, *, scope: str, account_id: str, limit: int
    ) -> tuple[Run, ...]:
        return select_runs(
            connection,
            _STRANDED,
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
        values = {"account_id": account_id, "app_id": app_id, "limit": limit}
        return tuple(row[0] for row in connection.execute(DURATIONS, values))

    @reads
    def get_histories(
        self, connection: sqlite3.Connection, *, account_id: str, app_ids: Sequence[str], limit: int = 20
    ) -> dict[str, AppHistory]:
        values = {"app_ids": json.dumps(app_ids), "account_id": account_id, "limit": limit}
        return collect_histories(connection.execute(_HISTORIES, values))

    @reads
    def get_used_apps(self, connection: sqlite3.Connection, *, account_id: str, since: float) -> frozenset[str]:
        rows = connection.execute(USED_APPS, {"account_id": account_id, "since": since})
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
    if search is not None and (search.words or search.app):
        # SQLite itself knows the case of ASCII letters only.
        connection.create_function("fold", 1, str.casefold, deterministic=True)
    searched, values = build_search(search or RunSearch(), is_live=IS_LIVE, app=_HAS_APP, word=_HAS_WORD)
    # The plus keeps SQLite to the index of the owner's runs.
    account = "" if account_id is None else "+runs.account_id = :account_id"
    return select_runs(
        connection,
        *build_page(
            [account, IS_ALONE, condition, *searched],
            values,
            owner=owner,
            account_id=account_id,
            state=state,
            start=start,
            limit=limit,
        ),
    )


_APP_TEXT: Final = "fold(runs.app_name || ' ' || runs.tool_name)"
_RUN_TEXT: Final = "fold(runs.app_name || ' ' || runs.tool_name || ' ' || runs.id || ' ' || runs.arguments_json)"
_ROWS_WITH: Final = "SELECT 1 FROM batch_rows WHERE batch_rows.batch_id = runs.id AND instr(fold(display_json), {word})"
_HAS_APP: Final = f"instr({_APP_TEXT}, :app)"
_HAS_WORD: Final = f"(instr({_RUN_TEXT}, {{word}}) OR EXISTS ({_ROWS_WITH}))"
