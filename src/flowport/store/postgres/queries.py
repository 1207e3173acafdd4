"""The reads about runs of the PostgreSQL store, each answered from an index: 100,000 runs are listed as quickly as ten."""

from collections.abc import Sequence
from typing import Final

from flowport.domain.errors import RunNotFound
from flowport.domain.models import Run, RunState, get_url_place
from flowport.store.postgres.database import Database
from flowport.store.postgres.operations import (
    IS_ALONE,
    IS_LIVE,
    IS_OVER,
    IS_UNDELIVERED,
    find_run,
    looks_up,
    reads,
    select,
    select_runs,
    translate,
)
from flowport.store.postgres.transaction import Transaction
from flowport.store.records import AppHistory, RunSearch
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

_RUN_AT_PROVIDER: Final = translate(RUN_AT_PROVIDER)
_NEWEST_WITH_URL: Final = translate(NEWEST_WITH_URL)
# In the words of the index; a link without a question mark was not replaced.
_IS_AT_PLACE: Final = "split_part(outputs.url, '?', 1) = {place} AND strpos(outputs.url, '?') > 0"
_RUNS_AT_PLACE: Final = f"{translate(RUNS_WITH_OUTPUT)} AND {_IS_AT_PLACE.format(place='%(place)s')} LIMIT 2"
_KNOWN_URLS: Final = f"""
SELECT given.number FROM unnest(%(urls)s::text[], %(places)s::text[]) WITH ORDINALITY AS given (url, place, number)
CROSS JOIN LATERAL (
    (SELECT 1 FROM outputs WHERE outputs.url = given.url LIMIT 1)
    UNION ALL (SELECT 1 FROM outputs WHERE {_IS_AT_PLACE.format(place="given.place")} LIMIT 1)
    LIMIT 1
) AS found
"""  # noqa: S608 - our own words
_UNDELIVERED: Final = (
    f"SELECT count(*) FROM runs WHERE owner = %s AND delivered_at IS NULL AND {IS_ALONE} AND {IS_OVER}"  # noqa: S608 - our own words
)
_UNDER_WAY: Final = f"runs WHERE owner = %s AND {IS_LIVE} AND {IS_ALONE} ORDER BY accepted_at DESC, id DESC LIMIT %s"
_LIVE: Final = f"runs WHERE account_id = %s AND {IS_LIVE} ORDER BY accepted_at, id"
_UNKNOWN: Final = translate(UNKNOWN_RUNS)
_UNSAVED: Final = (
    "runs WHERE id IN (SELECT run_id FROM outputs WHERE saved_path = '' AND url IS NOT NULL "  # noqa: S608 - our own words
    "AND (expires_at IS NULL OR expires_at > %(now)s OR save_problem = '')) "
    f"AND account_id = %(account_id)s AND {IS_OVER} AND finished_at > %(since)s ORDER BY accepted_at, id"
)
_NEEDED_PROVIDER_IDS: Final = translate(NEEDED_PROVIDER_IDS)
_STRANDED: Final = translate(build_stranded_source("strpos(substr(account_id, length(:prefix) + 1), ':') = 0"))
_LAST_DELIVERED: Final = (
    "runs WHERE runs.owner = %s AND runs.delivered_at IS NOT NULL "
    "AND EXISTS (SELECT 1 FROM outputs WHERE outputs.run_id = runs.id) "
    "ORDER BY runs.delivered_at DESC, runs.row_number DESC LIMIT 1"
)
_DURATIONS: Final = translate(DURATIONS)
_HISTORIES: Final = """
SELECT given.app_id, latest.state, latest.seconds,
    (SELECT string_agg(DISTINCT kind, ',') FROM outputs WHERE outputs.run_id = latest.id) AS kinds
FROM unnest(%(app_ids)s::text[]) AS given (app_id) CROSS JOIN LATERAL (
    SELECT id, state, finished_at, finished_at - started_at AS seconds FROM runs
    WHERE account_id = %(account_id)s AND app_id = given.app_id AND state IN ('succeeded', 'partial')
        AND finished_at IS NOT NULL
    ORDER BY finished_at DESC LIMIT %(limit)s
) AS latest
ORDER BY latest.finished_at DESC
"""
_USED_APPS: Final = translate(USED_APPS)

_HAS_APP: Final = "strpos(runs.folded_app, :app) > 0"
# Not EXISTS: for its first row the planner would walk the rows of all batches.
_HAS_WORD: Final = (
    "(strpos(runs.folded_app || runs.folded_rest, {word}) > 0 OR runs.row_count > 0 AND "
    "(SELECT bool_or(strpos(batch_rows.folded_display, {word}) > 0) FROM batch_rows WHERE batch_rows.batch_id = runs.id))"
)


class RunQueries:
    """See `store.run_queries`."""

    database: Database

    @looks_up
    async def get_run(self, transaction: Transaction, run_id: str, *, account_id: str | None, owner: str) -> Run:
        return require_run(await find_run(transaction, run_id), run_id, account_id=account_id, owner=owner)

    @looks_up
    async def find_run_at_provider(
        self, transaction: Transaction, provider_run_id: str, *, account_id: str
    ) -> Run | None:
        values = {"account_id": account_id, "provider_run_id": provider_run_id}
        return next(iter(await select_runs(transaction, _RUN_AT_PROVIDER, values)), None)

    @reads
    async def get_run_by_output_url(self, transaction: Transaction, url: str, *, owner: str) -> Run:
        if found := await select_runs(transaction, _NEWEST_WITH_URL, {"owner": owner, "url": url}):
            return found[0]
        place = get_url_place(url)
        found = await select_runs(transaction, _RUNS_AT_PLACE, {"owner": owner, "place": place})
        # Where two outputs share a place, only their queries differ, so it is unknown which was meant.
        if len(found) != 1:
            raise RunNotFound(place)
        return found[0]

    @looks_up
    async def get_run_of_any_owner(self, transaction: Transaction, run_id: str) -> Run:
        run = await find_run(transaction, run_id)
        if run is None:
            raise RunNotFound(run_id)
        return run

    @reads
    async def get_runs(
        self,
        transaction: Transaction,
        *,
        account_id: str | None,
        owner: str,
        limit: int,
        before: str | None = None,
        undelivered_first: bool,
        state: RunState | None = None,
        search: RunSearch | None = None,
    ) -> tuple[Run, ...]:
        searched, values = build_search(search or RunSearch(), is_live=IS_LIVE, app=_HAS_APP, word=_HAS_WORD)

        async def select_page(condition: str, *, limit: int, start: Run | None) -> tuple[Run, ...]:
            if limit <= 0:
                return ()
            account = "" if account_id is None else "runs.account_id = :account_id"
            conditions = [account, IS_ALONE, condition, *searched]
            source, all_values = build_page(
                conditions, values, owner=owner, account_id=account_id, state=state, start=start, limit=limit
            )
            return await select_runs(transaction, translate(source), all_values)

        start = None
        if before is not None:
            start = require_run(await find_run(transaction, before), before, account_id=account_id, owner=owner)
        if not undelivered_first:
            return await select_page("", limit=limit, start=start)
        unseen: tuple[Run, ...] = ()
        if start is None or (start.delivered_at is None and start.state.is_final):
            unseen = await select_page(IS_UNDELIVERED, limit=limit, start=start)
            start = None  # the others begin at their newest
        return unseen + await select_page(f"NOT {IS_UNDELIVERED}", limit=limit - len(unseen), start=start)

    @looks_up
    async def count_undelivered(self, transaction: Transaction, *, owner: str) -> int:
        row = await (await transaction.execute(_UNDELIVERED, (owner,))).fetchone()
        return 0 if row is None else int(row[0])

    @looks_up
    async def get_runs_under_way(self, transaction: Transaction, *, owner: str, limit: int) -> tuple[Run, ...]:
        return await select_runs(transaction, _UNDER_WAY, (owner, limit))

    @looks_up
    async def get_live_runs(self, transaction: Transaction, *, account_id: str) -> tuple[Run, ...]:
        return await select_runs(transaction, _LIVE, (account_id,))

    @looks_up
    async def get_unknown_runs(
        self, transaction: Transaction, *, account_id: str, since: float, limit: int
    ) -> tuple[Run, ...]:
        return await select_runs(transaction, _UNKNOWN, {"account_id": account_id, "since": since, "limit": limit})

    @looks_up
    async def get_known_urls(self, transaction: Transaction, urls: Sequence[str]) -> frozenset[str]:
        values = {"urls": list(urls), "places": [get_url_place(url) for url in urls]}
        cursor = await transaction.execute(_KNOWN_URLS, values)
        return frozenset([urls[number - 1] for (number,) in await cursor.fetchall()])

    @looks_up
    async def get_unsaved_runs(
        self, transaction: Transaction, *, account_id: str, now: float, since: float
    ) -> tuple[Run, ...]:
        return await select_runs(transaction, _UNSAVED, {"account_id": account_id, "now": now, "since": since})

    @looks_up
    async def get_needed_provider_ids(self, transaction: Transaction, *, account_id: str) -> frozenset[str]:
        cursor = await transaction.execute(_NEEDED_PROVIDER_IDS, {"account_id": account_id})
        return frozenset([row[0] for row in await cursor.fetchall()])

    @looks_up
    async def get_stranded_runs(
        self, transaction: Transaction, *, scope: str, account_id: str, limit: int
    ) -> tuple[Run, ...]:
        values = {"prefix": f"{scope}:", "end": f"{scope};", "account_id": account_id, "limit": limit}
        return await select_runs(transaction, _STRANDED, values)

    @looks_up
    async def get_last_delivered(self, transaction: Transaction, *, owner: str) -> Run | None:
        return next(iter(await select_runs(transaction, _LAST_DELIVERED, (owner,))), None)

    @looks_up
    async def get_durations(
        self, transaction: Transaction, *, account_id: str, app_id: str, limit: int = 20
    ) -> tuple[float, ...]:
        values = {"account_id": account_id, "app_id": app_id, "limit": limit}
        cursor = await transaction.execute(_DURATIONS, values)
        return tuple([row[0] for row in await cursor.fetchall()])

    @looks_up
    async def get_histories(
        self, transaction: Transaction, *, account_id: str, app_ids: Sequence[str], limit: int = 20
    ) -> dict[str, AppHistory]:
        values = {"app_ids": list(app_ids), "account_id": account_id, "limit": limit}
        return collect_histories(await select(transaction, _HISTORIES, values))

    @looks_up
    async def get_used_apps(self, transaction: Transaction, *, account_id: str, since: float) -> frozenset[str]:
        cursor = await transaction.execute(_USED_APPS, {"account_id": account_id, "since": since})
        return frozenset([row[0] for row in await cursor.fetchall()])
