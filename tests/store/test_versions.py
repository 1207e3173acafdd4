"""An older Flowport beside this one, and this one on a newer file. The older one's statements are literals, for good."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flowport.domain.models import RunState
from flowport.domain.run_events import Delivered, Finished, OutputSaved, Polled, Started, StartRequested
from flowport.store.records import Erasure, Recorded
from flowport.store.sqlite.migrations import APPLICATION_ID, MIGRATIONS
from flowport.store.sqlite.store import SqliteStore, open_sqlite_store

from .samples import ACCOUNT, OUTPUT, OWNER, build_run, finish_child, start_child

# What version 1 of the schema was written and read with, word for word. None of it is ever changed.
V1_INSERT_RUN = (
    "INSERT INTO runs (id, account_id, owner, provider, app_id, app_name, tool_name, arguments_json, raw_digest, "
    "canonical_digest, state, accepted_at, process_id, price_credits, reserved_credits, spent_credits, provider_run_id, "
    "starting_at, started_at, finished_at, failure, start_answer, told_at, seen_at, is_followed) VALUES (:id, "
    "'magnific:api.example:f1', 'local', 'magnific', 'app1', 'App', 'app', '{}', 'r', 'c', 'accepted', :at, 'p0', 5.0, "
    "5.0, 0.0, '', NULL, NULL, NULL, '', '', NULL, NULL, 1)"
)
V1_LIFE = (
    "UPDATE runs SET state = 'starting', starting_at = :at WHERE id = :id AND state IN ('accepted', 'starting')",
    "UPDATE runs SET state = 'accepted', starting_at = NULL WHERE id = :id AND state IN ('starting')",
    "UPDATE runs SET state = 'starting', starting_at = :at WHERE id = :id AND state IN ('accepted', 'starting')",
    (
        "UPDATE runs SET state = 'queued', provider_run_id = 'remote', started_at = :at WHERE id = :id "
        "AND state IN ('starting')"
    ),
    "UPDATE runs SET state = 'running' WHERE id = :id AND state IN ('queued', 'running')",
    "UPDATE runs SET told_at = :at WHERE id = :id AND told_at IS NULL",
    (
        "UPDATE runs SET state = 'succeeded', failure = '', spent_credits = 5.0, reserved_credits = 0, finished_at = :at "
        "WHERE id = :id AND state IN ('accepted', 'starting', 'queued', 'running')"
    ),
    (
        "INSERT INTO outputs (run_id, n, kind, url, provider_output_id, mime_type, size_bytes, width, height, "
        "duration_seconds, expires_at, saved_path, save_problem, text) VALUES (:id, 1, 'image', 'https://cdn.example/o', "
        "'', '', NULL, NULL, NULL, NULL, NULL, '', '', '')"
    ),
    (
        "UPDATE outputs SET n = 1, kind = 'image', url = 'https://cdn.example/o', provider_output_id = '', "
        "mime_type = 'image/png', size_bytes = 3, width = NULL, height = NULL, duration_seconds = NULL, expires_at = NULL, "
        "saved_path = '/o.png', save_problem = '', text = '' WHERE run_id = :id AND n = 1"
    ),
    "UPDATE runs SET seen_at = :at WHERE id = :id AND seen_at IS NULL",
    "UPDATE runs SET is_followed = 1 WHERE id = :id",
)
V1_SELECT = (
    "SELECT runs.id, runs.state, runs.seen_at, runs.spent_credits FROM runs INDEXED BY runs_by_state "
    "WHERE account_id = 'magnific:api.example:f1' AND state IN ('succeeded') ORDER BY accepted_at, id"
)
V1_UNSEEN = (
    "SELECT count(*) FROM runs INDEXED BY runs_unseen WHERE runs.owner = 'local' AND (runs.seen_at IS NULL "
    "AND runs.state IN ('succeeded', 'partial', 'failed', 'cancelled', 'unknown'))"
)
V1_NAME = "INSERT INTO tool_names (name, scope, app_id) VALUES (:name, 's', :name)"

OLDER_PROCESS = """
import json, sqlite3, sys
path, statements = sys.argv[1], json.loads(sys.argv[2])
connection = sqlite3.connect(path, timeout=10, isolation_level=None)
connection.execute("PRAGMA foreign_keys = ON")
connection.execute("PRAGMA synchronous = FULL")
connection.execute("PRAGMA journal_mode = WAL")
for n in range(20):
    for statement in statements:
        connection.execute("BEGIN IMMEDIATE")
        assert connection.execute(statement, {"id": f"run_old_{n}", "at": 7.0 + n}).rowcount == 1, statement
        connection.execute("COMMIT")
    connection.execute("SELECT count(*) FROM runs").fetchone()
connection.close()
"""


@contextmanager
def open_older(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file as version 1 did, making it where there is none."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in MIGRATIONS[0]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("PRAGMA user_version = 1")
        yield connection


def live_as_older(connection: sqlite3.Connection, run_id: str) -> None:
    """Carry a run through its whole life as version 1 did."""
    for statement in (V1_INSERT_RUN, *V1_LIFE):
        assert connection.execute(statement, {"id": run_id, "at": 7.0}).rowcount == 1


async def live_as_we_do(store: SqliteStore, run_id: str) -> None:
    """Carry a run through its whole life."""
    await store.accept(build_run(run_id))
    assert isinstance(await store.record(run_id, StartRequested(1.0)), Recorded)
    assert isinstance(await store.record(run_id, Started("remote", RunState.QUEUED, 2.0)), Recorded)
    assert isinstance(await store.record(run_id, Polled(RunState.RUNNING, 2.5)), Recorded)
    assert isinstance(
        await store.record(run_id, Finished(RunState.SUCCEEDED, 3.0, (OUTPUT,), spent_credits=5.0)), Recorded
    )
    await store.record(run_id, OutputSaved(OUTPUT))
    await store.record(run_id, Delivered(4.0))


async def test_an_older_process_works_beside_ours(store: SqliteStore, path: Path) -> None:
    """One client's Flowport was updated, another's was not, and both run on one file at the same time."""
    child = start_child(OLDER_PROCESS, path, json.dumps([V1_INSERT_RUN, *V1_LIFE]))
    await asyncio.gather(*(live_as_we_do(store, f"run_{n}") for n in range(20)))
    finish_child(child)
    runs = await store.get_runs(account_id=ACCOUNT, owner=OWNER, limit=99, unseen_first=True)
    assert {run.state for run in runs} == {RunState.SUCCEEDED}
    assert {len(run.outputs) for run in runs} == {1}
    assert len(runs) == 40


async def test_an_older_process_stays_at_work_while_we_bring_its_file_up_to_date(path: Path) -> None:
    """It has the file open, and its statements name columns and indexes that must stay."""
    with open_older(path) as older:
        live_as_older(older, "run_before")
        older.execute(V1_INSERT_RUN, {"id": "run_live", "at": 8.0})
        store = open_sqlite_store(path)
        live_as_older(older, "run_after")
        await live_as_we_do(store, "run_ours")
        older.execute(V1_NAME, {"name": "theirs"})
        names = await store.assign_tool_names("s", apps=[("theirs", "X"), ("ours", "Y")], build_name=lambda *_: "ours")
        rows = [tuple(row)[:2] for row in older.execute(V1_SELECT)]
        unseen = older.execute(V1_UNSEEN).fetchone()[0]
        (live,) = await store.get_live_runs(account_id=ACCOUNT)
        assert isinstance(await store.record("run_live", StartRequested(9.0)), Recorded)
        refused = older.execute(
            V1_LIFE[2].replace("'accepted', 'starting'", "'accepted'"), {"id": "run_live", "at": 9.0}
        )
        await store.close()
    assert rows == [("run_after", "succeeded"), ("run_before", "succeeded"), ("run_ours", "succeeded")]
    assert (unseen, names, refused.rowcount) == (0, {"theirs": "theirs", "ours": "ours"}, 0)
    # What version 1 did not know has the value that stands for that.
    assert (live.id, live.running_at, live.delivered_to, live.boot_id, live.mentions) == ("run_live", None, "", "", 0)


NEWER = (
    "ALTER TABLE runs ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'",
    "ALTER TABLE runs ADD COLUMN weight REAL",
    "ALTER TABLE outputs ADD COLUMN smell TEXT NOT NULL DEFAULT 'none'",
    "ALTER TABLE waiting_calls ADD COLUMN patience REAL",
    "ALTER TABLE tool_names ADD COLUMN given_at REAL",
    "CREATE TABLE notes (run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, text TEXT NOT NULL)",
    "CREATE INDEX runs_by_mood ON runs (mood)",
    "INSERT INTO meta (key, value) VALUES ('colour', 'blue')",
    "PRAGMA user_version = 99",
)


@pytest.mark.parametrize("is_open", [True, False], ids=["while we have it open", "before we open it"])
async def test_we_work_on_a_file_that_a_newer_version_has_extended(path: Path, *, is_open: bool) -> None:
    """Then this is the older process, and what the newer one keeps must outlive our changes."""
    store = open_sqlite_store(path)
    await live_as_we_do(store, "run_before")
    if not is_open:
        await store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as newer:
        for statement in NEWER:
            newer.execute(statement)
        if not is_open:
            store = open_sqlite_store(path)
        await store.accept(build_run("run_1", RunState.RUNNING, outputs=()))
        newer.execute("UPDATE runs SET mood = 'wild', weight = 2.5")
        newer.execute("UPDATE outputs SET smell = 'lime'")
        newer.execute("INSERT INTO notes VALUES ('run_1', 'mine'), ('run_before', 'theirs')")
        await store.record("run_1", Finished(RunState.FAILED, 3.0, (OUTPUT,), spent_credits=5.0))
        await store.record("run_before", OutputSaved(OUTPUT))
        await store.check()
        kept = newer.execute("SELECT mood, weight FROM runs ORDER BY id").fetchall()
        smells = newer.execute("SELECT run_id, smell FROM outputs ORDER BY run_id").fetchall()
        assert await store.prune(before=9.0) == 1
        assert await store.erase_run("run_1", owner=OWNER) == Erasure(1, (OUTPUT.saved_path,))
        left = newer.execute("SELECT (SELECT count(*) FROM notes), (SELECT count(*) FROM runs)").fetchone()
        version = newer.execute("PRAGMA user_version").fetchone()[0]
    await store.close()
    assert kept == [("wild", 2.5), ("wild", 2.5)]
    assert smells == [("run_1", "none"), ("run_before", "lime")]
    assert (left, version) == ((0, 0), 99)
