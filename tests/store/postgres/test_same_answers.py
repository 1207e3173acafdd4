# ruff: noqa: RUF001 - letters that look alike are what is searched for
"""Where two stores could differ: case, patterns, texts that no database takes, and calls that come at the same instant."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flowport.domain.errors import RunNotFound
from flowport.domain.models import RunState
from flowport.store.interface import Store
from flowport.store.postgres.store import open_postgres_store
from flowport.store.received_files import Kept, QuotaExceeded, ReceivedFile, TicketUsed
from flowport.store.records import RunSearch
from flowport.store.sqlite.store import open_sqlite_store
from tests.store.contract.test_batches import BATCH, build_batch, build_row
from tests.store.samples import OUTPUT, OWNER, build_run

TEXTS = ("Straße", "İstanbul ǅ ﬁ ΟΔΟΣ", "100 % _ \\ ' \" $1 %s :word0", "e\u0301 É", "ẞ ſ K µ ᾳ", "日本 \U0001f600")
WORDS = (
    "strasse",
    "ẞ",
    "i̇stanbul",
    "FI",
    "σ",
    "ς",
    "οδοσ",
    "%",
    "_",
    "\\",
    "'",
    "$1",
    "%s",
    ":word0",
    "É",
    "é",
    "S",
    "k",
    "Μ",
    "ΑΙ",
    "",
)


@pytest.fixture
async def stores(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Open a store of each kind."""
    both = (open_sqlite_store(tmp_path / "store.sqlite3"), open_postgres_store(database_url))
    yield both
    for one in both:
        await one.close()


async def search(store: Store, words: tuple[str, ...], app: str = "") -> list[str]:
    """Return what a search finds."""
    found = await store.get_runs(
        account_id=None, owner=OWNER, limit=99, undelivered_first=False, search=RunSearch(words, app)
    )
    return [run.id for run in found]


async def test_a_search_finds_the_same_in_both_stores(stores: tuple[Store, Store]) -> None:
    """In every script, and whatever a pattern or a statement would make of it."""
    for store in stores:
        for n, text in enumerate(TEXTS):
            await store.accept(build_run(f"run_{n}", accepted_at=float(n), arguments_json=text, app_name=text[::-1]))
        batch = build_batch(rows=len(TEXTS))
        rows = tuple(replace(row, display_json=TEXTS[row.n - 1]) for row in batch.rows)
        await store.accept_batch(replace(batch, rows=rows))
    for word in WORDS:
        found = [await search(store, (word,)) for store in stores]
        assert (found[0] == found[1], word) == (True, word)
        apps = [await search(store, (), word) for store in stores]
        assert (apps[0] == apps[1], word) == (True, word)


HOSTILE = "\0\udc00 '; DROP TABLE runs; --"


async def test_a_text_that_no_database_takes_finds_nothing(stores: tuple[Store, Store]) -> None:
    """A person's or a provider's words are no reason for an error, in any place where they are asked for."""
    store = stores[1]
    await store.accept(build_run("run_1", RunState.SUCCEEDED, outputs=(OUTPUT,)))
    for ask in (
        store.get_run(HOSTILE, account_id=None, owner=OWNER),
        store.get_run_of_any_owner(HOSTILE),
        store.get_run_by_output_url(f"https://cdn.example/{HOSTILE}?{HOSTILE}", owner=OWNER),
        store.get_runs(account_id=None, owner=OWNER, limit=1, before=HOSTILE, undelivered_first=True),
        store.get_batch_progress(HOSTILE),
        store.get_batch_arguments(HOSTILE),
        store.erase_run(HOSTILE, owner=OWNER),
    ):
        with pytest.raises(RunNotFound):
            await ask
    assert await store.find_run_at_provider(HOSTILE, account_id=HOSTILE) is None
    assert await store.get_known_urls([HOSTILE, str(OUTPUT.url)]) == {OUTPUT.url}
    assert await store.get_histories(account_id=HOSTILE, app_ids=[HOSTILE]) == {}
    assert await store.get_stranded_runs(scope=HOSTILE, account_id=HOSTILE, limit=9) == ()
    assert await store.get_token(HOSTILE) is None
    assert await store.find_file(HOSTILE, owner=HOSTILE) is None
    assert await search(store, (HOSTILE,), HOSTILE) == []
    assert await store.get_whole_arguments(HOSTILE) is None
    assert (await store.erase_owner(HOSTILE)).runs == 0


async def test_a_long_link_is_found_by_its_place(stores: tuple[Store, Store]) -> None:
    """Signed links have thousands of characters, in the path too."""
    place = f"https://cdn.example/{'a' * 9000}"
    for store in stores:
        await store.accept(
            build_run("run_1", RunState.SUCCEEDED, outputs=(replace(OUTPUT, url=f"{place}?token={'t' * 9000}"),))
        )
        await store.accept(build_run("run_2", RunState.SUCCEEDED, outputs=(replace(OUTPUT, url=f"{place}b#c?d"),)))
        assert (await store.get_run_by_output_url(f"{place}?other", owner=OWNER)).id == "run_1"
        assert await store.get_known_urls([f"{place}?new#x", f"{place}b", f"{place}b?new"]) == {f"{place}?new#x"}


async def test_files_sent_at_once_fill_a_quota_and_no_byte_more(database_url: str) -> None:
    """Each replica counts what the others are about to keep."""
    replicas = [open_postgres_store(database_url) for _ in range(3)]
    tickets = [ReceivedFile(f"f{n}", "anna", 1.0, 99.0) for n in range(30)]
    for ticket in tickets:
        await replicas[0].request_file(ticket, max_open=99)
    sent = [replace(one, received_at=2.0, file_name=one.id, size_bytes=10) for one in tickets]
    outcomes = await asyncio.gather(
        *(replicas[n % 3].keep_file(one, max_bytes=101) for n, one in enumerate([*sent, *sent]))
    )
    kinds = [type(one) for one in outcomes]
    assert kinds.count(Kept) == 10
    assert {*kinds} <= {Kept, QuotaExceeded, TicketUsed}
    assert await replicas[1].get_file_use(owner="anna") == 100
    for one in replicas:
        await one.close()


async def test_rows_that_begin_and_are_dropped_at_once_do_one_of_both(database_url: str) -> None:
    """A cancelled batch starts nothing more, and what its rows reserve is what began."""
    replicas = [open_postgres_store(database_url) for _ in range(3)]
    await replicas[0].accept_batch(build_batch(rows=40))
    begin = [replicas[n % 3].accept_rows(BATCH, [build_row(n, RunState.STARTING)]) for n in range(1, 41)]
    begun = asyncio.gather(*begin)
    dropped = await replicas[1].drop_rows(BATCH, reason="Enough.", at=9.0)
    count = sum(map(len, await begun))
    progress = await replicas[2].get_batch_progress(BATCH)
    assert (count + dropped, progress.live, progress.dropped, progress.waiting) == (40, count, dropped, 0)
    assert (await replicas[2].get_run(BATCH, account_id=None, owner=OWNER)).reserved_credits == 0.0
    for one in replicas:
        await one.close()
