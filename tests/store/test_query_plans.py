"""By which steps SQLite answers: with 100,000 runs no question may cost more than with ten."""

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from flowport.domain.models import BootTime, RunState
from flowport.domain.spending import SpendingCheck, SpendingLimits, UnknownPrice
from flowport.store.records import RunSearch
from flowport.store.sqlite.store import SqliteStore

from .contract.test_accept import build_rules
from .contract.test_queries import accept_mixture, list_ids
from .samples import ACCOUNT, OWNER, build_run

S = RunState


async def trace(
    store: SqliteStore, ask: Callable[[], Awaitable[object]], *, writes: bool = False
) -> dict[str, list[str]]:
    """Return the queries that a question made, and the steps by which SQLite answers each."""
    statements: list[str] = []
    perform = store.worker.write if writes else store.worker.read
    await perform(lambda connection: connection.set_trace_callback(statements.append))
    await ask()
    await perform(lambda connection: connection.set_trace_callback(None))
    queries = [statement for statement in statements if statement.lstrip().startswith("SELECT")]
    return {query: await store.worker.read(partial(explain, query=query)) for query in queries}


def explain(connection: sqlite3.Connection, query: str) -> list[str]:
    """Return the steps by which SQLite would answer."""
    return [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]


Read = Callable[[SqliteStore], Awaitable[object]]
READS: dict[str, tuple[Read, int]] = {
    "first page": (lambda store: list_ids(store, undelivered_first=True, account_id=ACCOUNT), 4),
    "first page of all": (lambda store: list_ids(store, undelivered_first=True), 4),
    "page behind an unseen run": (lambda store: list_ids(store, undelivered_first=True, before="d"), 6),
    "page behind a seen run": (lambda store: list_ids(store, undelivered_first=True, before="e"), 4),
    "newest": (lambda store: list_ids(store, account_id=ACCOUNT), 2),
    "newest of all": (list_ids, 2),
    "newest in a state": (
        lambda store: store.get_runs(account_id=None, owner=OWNER, limit=9, undelivered_first=False, state=S.FAILED),
        2,
    ),
    "newest of a search": (
        lambda store: store.get_runs(
            account_id=None,
            owner=OWNER,
            limit=9,
            undelivered_first=False,
            search=RunSearch(("a",), "b", since=1.0, until=9.0),
        ),
        2,
    ),
    "under way": (lambda store: store.get_runs_under_way(owner=OWNER, limit=6), 2),
    "unseen": (lambda store: store.count_undelivered(owner=OWNER), 2),
    "live": (lambda store: store.get_live_runs(account_id=ACCOUNT), 2),
    "unknown": (lambda store: store.get_unknown_runs(account_id=ACCOUNT, since=0.0, limit=9), 2),
    "spending": (lambda store: store.get_spending(account_id=ACCOUNT, owner=OWNER, since=0.0), 2),
    "spending of an account": (lambda store: store.get_spending(account_id=ACCOUNT, owner=None, since=0.0), 2),
    "durations": (lambda store: store.get_durations(account_id=ACCOUNT, app_id="app1"), 1),
    "histories": (lambda store: store.get_histories(account_id=ACCOUNT, app_ids=("app1", "app2")), 1),
    "used apps": (lambda store: store.get_used_apps(account_id=ACCOUNT, since=0.0), 1),
}
"""Each read that may meet many runs, with the number of its queries."""


@pytest.mark.parametrize(("read", "queries"), READS.values(), ids=READS.keys())
async def test_no_read_walks_the_table(store: SqliteStore, read: Read, queries: int) -> None:
    """With 100,000 runs a walk takes seconds, so each query must begin at a place in an index."""
    await accept_mixture(store)
    plans = await trace(store, lambda: read(store))
    steps = [step for plan in plans.values() for step in plan]
    assert len(plans) == queries
    assert [step for step in steps if step.startswith("SCAN") and "json_each" not in step] == []


@pytest.mark.parametrize("read", [read for read, _ in READS.values()][:7], ids=list(READS)[:7])
async def test_a_page_needs_no_sorting(store: SqliteStore, read: Read) -> None:
    """Sorting reads every run of the owner to find the newest thirty."""
    await accept_mixture(store)
    plans = await trace(store, lambda: read(store))
    pages = [plan for query, plan in plans.items() if "ORDER BY runs.accepted_at" in query]
    assert pages != []
    assert "TEMP B-TREE" not in str(pages)


INDEXES: dict[str, tuple[Read, str]] = {
    "unseen page": (READS["first page"][0], "runs_undelivered_by_owner (owner=?)"),
    "later unseen page": (
        READS["page behind an unseen run"][0],
        "runs_undelivered_by_owner (owner=? AND (accepted_at,id)<(?,?))",
    ),
    "under way": (READS["under way"][0], "runs_live_by_owner (owner=?)"),
    "unseen": (READS["unseen"][0], "runs_undelivered_by_owner (owner=?)"),
    "unseen and live": (READS["unseen"][0], "runs_live_by_owner (owner=?)"),
    "live": (READS["live"][0], "runs_live (account_id=?)"),
    "unknown": (READS["unknown"][0], "runs_unknown (account_id=? AND unknown_at>?)"),
    "reserved": (READS["spending"][0], "runs_live_by_owner (owner=?)"),
    "spent": (READS["spending"][0], "runs_ended (owner=? AND finished_at>?)"),
    "spent in this boot": (
        READS["spending"][0],
        "runs_ended_in_boot (owner=? AND boot_id=? AND accepted_boot_seconds>?)",
    ),
    "reserved of an account": (READS["spending of an account"][0], "runs_live (account_id=?)"),
    "spent of an account": (
        READS["spending of an account"][0],
        "runs_ended_of_account (account_id=? AND finished_at>?)",
    ),
    "spent of an account in this boot": (
        READS["spending of an account"][0],
        "runs_ended_of_account_in_boot (account_id=? AND boot_id=? AND accepted_boot_seconds>?)",
    ),
    "unsaved": (
        lambda store: store.get_unsaved_runs(account_id=ACCOUNT, now=0.0, since=0.0),
        "outputs_unsaved (saved_path=?)",
    ),
    "stranded": (
        lambda store: store.get_stranded_runs(scope="a:b", account_id=ACCOUNT, limit=9),
        "runs_undelivered (account_id>? AND account_id<?)",
    ),
    "needed": (lambda store: store.get_needed_provider_ids(account_id=ACCOUNT), "runs_undelivered (account_id=?)"),
    "at the provider": (
        lambda store: store.find_run_at_provider("r1", account_id=ACCOUNT),
        "runs_by_provider_run (account_id=? AND provider_run_id=?)",
    ),
    "last delivered": (lambda store: store.get_last_delivered(owner=OWNER), "runs_by_delivery (owner=?"),
    "reminder": (lambda store: store.take_reminder(owner=OWNER), "runs_undelivered_by_owner (owner=?)"),
}
"""Questions about few runs among many, and the index that leads to those few."""


@pytest.mark.parametrize(("read", "index"), INDEXES.values(), ids=INDEXES.keys())
async def test_few_runs_are_found_among_the_few(store: SqliteStore, read: Read, index: str) -> None:
    """SQLite keeps no statistics here: left a choice it might walk all runs of an owner to find the three unseen."""
    await accept_mixture(store)
    plans = str(await trace(store, lambda: read(store)))
    assert index in plans


async def test_a_call_is_accepted_by_way_of_its_digests(store: SqliteStore) -> None:
    """It happens in a transaction, with all others waiting."""
    plans = str(await trace(store, lambda: store.accept(build_run("run_1"), build_rules("call_1")), writes=True))
    key = "account_id=? AND owner=? AND app_id=?"
    assert f"runs_by_raw_digest ({key} AND raw_digest=?)" in plans
    assert f"runs_by_canonical_digest ({key} AND canonical_digest=?)" in plans
    assert "SCAN runs" not in plans


async def test_a_call_is_priced_by_way_of_the_indexes(store: SqliteStore) -> None:
    """All caps are summed up in the transaction that accepts it."""
    await accept_mixture(store)
    terms = SpendingCheck(
        SpendingLimits(None, 99.0, None, UnknownPrice.ALLOW, 99.0, 99.0, 99.0), 0.0, BootTime("b1", 1.0)
    )
    plans = await trace(store, lambda: store.accept(build_run("run_1"), None, terms), writes=True)
    steps = [step for plan in plans.values() for step in plan]
    assert len([query for query in plans if "spent_credits" in query and "total" in query]) == 8
    assert [
        step for step in steps if step.startswith("SCAN") and "json_each" not in step and step != "SCAN CONSTANT ROW"
    ] == []
    covering = "SEARCH runs USING COVERING INDEX runs_ended_of_account"
    assert len([step for step in steps if step.startswith(covering)]) == 4
