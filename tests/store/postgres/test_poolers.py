"""Connection poolers: one that gives sessions to transactions is refused, and one in session mode serves a team."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from flowport.domain.errors import StoreError
from flowport.store.cluster import News, NewsKind
from flowport.store.opening import inspect_team_store
from flowport.store.postgres.cluster import open_cluster
from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.sessions import are_shared
from tests.support.odd_system import run_flowport
from tests.support.patience import PATIENCE_SECONDS
from tests.support.pgbouncer import open_pgbouncer
from tests.support.postgres import PostgresServer

SENTENCE = "a connection pooler gives each transaction another session of the database"
POOLS = {"the last one first": "server_round_robin = 0", "taking turns": "server_round_robin = 1"}
"""Which of its free sessions a pooler gives."""


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("more", POOLS.values(), ids=POOLS)
async def test_a_pooler_of_transactions_is_refused_before_anything_is_made(
    postgres: PostgresServer, more: str, count: int
) -> None:
    """Behind it locks are left behind and news are lost, which shows late and as something else."""
    url = postgres.create_database()
    with open_pgbouncer(postgres, url, "transaction", more, f"default_pool_size = {count}") as pooled:
        with ExitStack() as stack:
            for _ in range(count):
                # A transaction of its own each, so that the pooler has so many sessions.
                stack.enter_context(psycopg.connect(pooled)).execute("SELECT 1")
        await expect_refusal(pooled)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'migrations'").fetchone() == (0,)


async def test_a_pooler_of_statements_is_refused_too(postgres: PostgresServer) -> None:
    """It allows no transactions at all."""
    with open_pgbouncer(postgres, postgres.create_database(), "statement") as pooled:
        await expect_refusal(pooled)


async def expect_refusal(url: str) -> None:
    """Expect that a database is not opened."""
    database = Database(url, prepare=migrate, patience_seconds=1.0)
    with pytest.raises(StoreError, match=SENTENCE):
        await database.open()
    await database.close()


def test_a_worker_and_the_doctor_name_the_pooler(tmp_path: Path, postgres: PostgresServer, database_url: str) -> None:
    """Both say what to change; the doctor changes nothing."""
    with open_pgbouncer(postgres, database_url, "transaction") as pooled:
        environment = {"FLOWPORT_HOME": str(tmp_path / "home"), "FLOWPORT_DATABASE_URL": pooled}
        worker = run_flowport("worker", environment=environment)
        health = inspect_team_store(pooled)
    assert worker.returncode == 1
    assert f"{SENTENCE}. Set its pool_mode to session" in worker.stderr
    assert health.problem is not None
    assert health.problem.problem == SENTENCE


@pytest.mark.parametrize("more", POOLS.values(), ids=POOLS)
async def test_a_pooler_of_sessions_serves_a_team(postgres: PostgresServer, database_url: str, more: str) -> None:
    """Connections keep their sessions, so a start succeeds and news arrive, as the guide says."""
    with open_pgbouncer(postgres, database_url, "session", more) as pooled:
        assert inspect_team_store(pooled).problem is None
        cluster = open_cluster(pooled, kind="replica", should_save=True)
        arrived = asyncio.Event()
        cluster.news.subscribe(lambda news: arrived.set() if news.run_id == "run_1" else None)
        await cluster.store.get_calling_processes()
        listening = asyncio.create_task(cluster.news.keep_listening())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not cluster.news.is_connected:  # noqa: ASYNC110 - the feed has no event for it
                await asyncio.sleep(0.01)
            await cluster.news.post(News(NewsKind.AWAITED, "run_1"))
            await arrived.wait()
        listening.cancel()
        await asyncio.wait([listening])
        await cluster.store.close()


async def test_a_database_with_one_connection_left_is_not_taken_for_a_pooler(
    postgres: PostgresServer, database_url: str
) -> None:
    """A comparison that fails proves nothing."""
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    postgres.execute(f"CREATE ROLE narrow_{name} LOGIN CONNECTION LIMIT 1")
    postgres.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO narrow_{name}", str(name))
    postgres.execute(f"GRANT ALL ON SCHEMA public TO narrow_{name}", str(name))
    database = Database(database_url.replace("flowport@", f"narrow_{name}@"), prepare=migrate, max_connections=1)
    await database.open()
    await database.close()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([(1, "a"), (1, "a")], [(2, "a"), (2, "a")], False),
        ([], [], False),
        ([(1, "a")], [], False),
        # Two servers of one address may give the same process id.
        ([(1, "a")], [(1, "b")], False),
        ([(1, "a")], [(1, "a")], True),
        ([(1, "a"), (2, "a")], [(3, "a")], True),
        ([(3, "a")], [(1, "a"), (2, "a")], True),
    ],
)
def test_only_a_shared_or_changed_session_is_proof(
    first: list[tuple[int, str]], second: list[tuple[int, str]], *, expected: bool
) -> None:
    """Connections that are open at the same time never have one session on their own."""
    assert are_shared(first, second) is expected
