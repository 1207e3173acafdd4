"""What is erased from PostgreSQL leaves no trace in its tables and its queue."""

import asyncio

import psycopg
import pytest
from psycopg import sql

from flowport.domain.errors import StoreError
from flowport.domain.models import RunState
from flowport.store.postgres import maintenance
from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.store import PostgresStore, open_postgres_store
from flowport.store.records import Accepted
from tests.store.contract.test_batches import BATCH, build_batch, build_row
from tests.store.contract.test_pruning import LIMIT, build_old_run
from tests.store.samples import OWNER, build_run
from tests.support.postgres import dump_database

SECRET = "my grandmother in a red coat"


def count_dead_rows(url: str) -> int:
    """Return how many rows of runs, outputs and batches are deleted and still there."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pgstattuple")
        queries = [
            sql.SQL("SELECT dead_tuple_count FROM pgstattuple({})").format(sql.Literal(table))
            for table in maintenance.RUN_TABLES
        ]
        rows = [connection.execute(query).fetchone() for query in queries]
    return sum(row[0] for row in rows if row is not None)


@pytest.fixture
async def store(database_url: str) -> PostgresStore:
    """Open a new store."""
    return open_postgres_store(database_url)


async def test_an_erased_run_is_in_no_table_and_no_dead_row(store: PostgresStore, database_url: str) -> None:
    """Its arguments, whole and folded, and its job go with it; other runs stay."""
    run = build_run("run_secret", arguments_json=f'"{SECRET}"', process_id="")
    await store.accept(run, whole_arguments=f'{{"prompt": "{SECRET}"}}')
    await store.accept(build_run("run_other", process_id=""), whole_arguments="{}")
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE runs SET state = 'failed', finished_at = 9 WHERE id = 'run_secret'")
    assert SECRET.encode() in dump_database(database_url)

    assert (await store.erase_run("run_secret", owner=OWNER)).runs == 1

    left = dump_database(database_url)
    assert (SECRET.encode() in left, b"run_secret" in left, b"run:run_other" in left) == (False, False, True)
    assert count_dead_rows(database_url) == 0
    await store.close()


async def test_an_erased_owner_and_batch_leave_nothing(store: PostgresStore, database_url: str) -> None:
    """In more slices than one, with rows, tables and texts."""
    await store.accept_batch(build_batch(owner="anna"))
    await store.accept_rows(BATCH, [build_row(1, RunState.SUCCEEDED, owner="anna")])
    await store.drop_rows(BATCH, reason=SECRET, at=9.0)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE runs SET state = 'partial', finished_at = 9 WHERE id = %s", (BATCH,))
    for n in range(4):
        await store.accept(build_old_run(f"run_of_anna_{n}", owner="anna", failure=SECRET))

    assert (await store.erase_owner("anna")).runs == 6

    left = dump_database(database_url)
    assert [one for one in (SECRET.encode(), b"anna", BATCH.encode()) if one in left] == [b"anna"]
    assert count_dead_rows(database_url) == 0
    assert await store.get_file_use(owner="anna") == 0
    await store.close()


async def test_pruning_and_erasing_go_in_slices(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that stays does not end the walk, and no run is deleted twice."""
    monkeypatch.setattr(maintenance, "SLICE_ROWS", 3)
    for n in range(7):
        await store.accept(build_old_run(f"run_{n}"))
        await store.accept(build_run(f"run_{n}_live", RunState.RUNNING))

    assert (await store.prune(before=LIMIT)).runs == 7
    assert (await store.get_history(owner=OWNER)).runs == 7
    await store.close()


@pytest.mark.parametrize(
    "statements",
    [
        ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM runs"),
        ("INSERT INTO used_marks (mark, expires_at) VALUES ('a', 1)",),
    ],
    ids=["reader", "writer"],
)
async def test_traces_that_an_open_transaction_keeps_are_reported(
    store: PostgresStore, database_url: str, monkeypatch: pytest.MonkeyPatch, statements: tuple[str, ...]
) -> None:
    """PostgreSQL keeps deleted rows for every transaction that began before; the run itself is gone."""
    monkeypatch.setattr(maintenance, "PATIENCE_SECONDS", 0.2)
    await store.accept(build_old_run("run_1"))
    with psycopg.connect(database_url) as other:
        for statement in statements:
            other.execute(statement.encode())
        with pytest.raises(StoreError, match="traces of what was erased remain"):
            await store.erase_run("run_1", owner=OWNER)
    assert (await store.get_history(owner=OWNER)).runs == 0
    await store.erase_owner(OWNER)
    assert count_dead_rows(database_url) == 0
    await store.close()


async def test_replicas_that_prune_at_once_prune_each_run_once(
    store: PostgresStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each replica does it every day; a slice that another one has deleted is not the end."""
    monkeypatch.setattr(maintenance, "SLICE_ROWS", 3)
    others = [open_postgres_store(database_url) for _ in range(2)]
    for n in range(30):
        await store.accept(build_old_run(f"run_{n}"))

    pruned = await asyncio.gather(*(one.prune(before=LIMIT) for one in (store, *others)))

    assert sum(one.runs for one in pruned) == sum(len(one.saved_paths) for one in pruned) == 30
    assert (await store.get_history(owner=OWNER)).runs == 0
    for one in (store, *others):
        await one.close()


async def test_a_check_reads_every_table_of_ours(store: PostgresStore, database_url: str) -> None:
    """A table that a later version adds must be checked, measured and known here too."""
    await store.check()
    await store.check_writable()
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    ours = {name for (name,) in found if not name.startswith("procrastinate_")}
    assert ours == set(maintenance.TABLES)
    assert await store.get_disk_use() > 100_000
    await store.close()


async def test_a_database_that_refuses_writes_is_not_writable(database_url: str) -> None:
    """A standby after a failover is reached and reads, and takes no run."""
    store = PostgresStore(Database(f"{database_url}&options=-c%20default_transaction_read_only%3Don", prepare=migrate))
    with pytest.raises(StoreError):
        await store.check_writable()
    await store.close()


async def test_a_queued_batch_gives_each_begun_row_a_job(store: PostgresStore, database_url: str) -> None:
    """Any worker may begin it: its run is held by no process, and its arguments are those of the batch."""
    assert isinstance(await store.accept_batch(build_batch(), is_queued=True), Accepted)
    begun = await store.accept_rows(BATCH, [build_row(1), build_row(2), build_row(1)])

    assert [(run.id, run.process_id) for run in begun] == [("run_1", ""), ("run_2", "")]
    assert await store.accept_rows(BATCH, [build_row(2)]) == ()
    with psycopg.connect(database_url) as connection:
        jobs = connection.execute("SELECT lock, priority FROM procrastinate_jobs ORDER BY id").fetchall()
        queued = connection.execute("SELECT id FROM runs WHERE is_queued ORDER BY id").fetchall()
    assert jobs == [(f"run:{BATCH}", 10), ("run:run_1", 0), ("run:run_2", 0)]
    assert [name for (name,) in queued] == [BATCH, "run_1", "run_2"]
    assert await store.get_whole_arguments("run_1") == ('{"shared": 1}', '{"own": 1}')
    assert await store.accept_rows("batch_none", [build_row(3)]) == ()
    await store.close()
