"""An older and a newer version of the program side by side on one database."""

import asyncio
from dataclasses import replace

import anyio

from flowport.domain.models import RunState
from flowport.domain.run_events import Delivered, Finished, StartAcknowledged, StartRequested
from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate, read_migrations
from flowport.store.postgres.store import open_postgres_store
from flowport.store.records import Accepted, Claimed, Joined, Recorded, Upload, UploadClaim
from tests.store.contract.test_accept import build_equal, build_rules
from tests.store.contract.test_spending import build_terms
from tests.store.samples import ACCOUNT, OUTPUT, OWNER
from tests.support.postgres import PostgresServer

LATER = """
ALTER TABLE runs ADD COLUMN colour text NOT NULL DEFAULT 'red';
ALTER TABLE runs ADD COLUMN later_at double precision;
ALTER TABLE outputs ADD COLUMN checksum text NOT NULL DEFAULT '';
ALTER TABLE uploads ADD COLUMN seen_at double precision;
ALTER TABLE waiting_calls ADD COLUMN priority bigint NOT NULL DEFAULT 0;
ALTER TABLE commits ADD COLUMN node text NOT NULL DEFAULT '';
CREATE TABLE run_colours (run_id text PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE);
CREATE INDEX runs_by_colour ON runs (colour);
INSERT INTO migrations (name) VALUES ('9999_later.sql');
"""


async def test_a_database_that_a_newer_version_has_migrated_is_used_as_before(
    database_url: str, postgres: PostgresServer
) -> None:
    """While replicas are replaced one by one, the old ones go on; what the newer one wrote stays."""
    before = open_postgres_store(database_url)
    await before.accept(replace(build_equal("run_0"), raw_digest="x", canonical_digest="x"))
    name = database_url.rpartition("?")[0].rpartition("/")[2]
    postgres.execute(LATER, name)
    postgres.execute("UPDATE runs SET colour = 'blue'", name)
    opened_later = open_postgres_store(database_url)
    for n, store in enumerate((before, opened_later)):
        run_id = f"run_{n + 1}"
        run = replace(build_equal(run_id), raw_digest=f"r{n}", canonical_digest=f"c{n}")
        terms = build_terms(max_credits_per_day=99.0, max_account_credits_per_day=99.0)
        assert isinstance(await store.accept(run, build_rules(f"a{n}"), terms, whole_arguments="{}"), Accepted)
        again = replace(run, id=f"again_{n}")
        assert isinstance(await store.accept(again, build_rules(f"b{n}"), terms, whole_arguments="{}"), Joined)
        claimed = await store.claim(run_id, "p2", lease=run.lease)
        assert isinstance(claimed, Claimed)
        for event in (
            StartRequested(1.0),
            StartAcknowledged(f"remote_{n}", RunState.RUNNING, 2.0),
            Finished(RunState.SUCCEEDED, 3.0, (OUTPUT,)),
            Delivered(4.0),
        ):
            outcome = await store.record(run_id, event, claimed.run.lease, ended_call_id=f"a{n}")
            assert isinstance(outcome, Recorded)
        assert await store.get_run(run_id, account_id=None, owner=OWNER) == outcome.run
        await store.claim_upload(UploadClaim(ACCOUNT, f"sha{n}", "p1", 1.0))
        await store.note_upload(Upload(ACCOUNT, f"sha{n}", "https://a.example/1", 9.0, "f1"))
    assert isinstance(await opened_later.claim("run_0", "p3", lease=3), Claimed)
    assert postgres.execute("SELECT colour FROM runs WHERE id = 'run_0'", name) == [("blue",)]
    for store in (before, opened_later):
        await store.close()


async def test_replicas_that_start_together_migrate_once(postgres: PostgresServer) -> None:
    """All are started at the same moment, on an empty database."""
    url = postgres.create_database()
    stores = [open_postgres_store(url) for _ in range(6)]
    await asyncio.gather(*(store.get_calling_processes() for store in stores))
    name = url.rpartition("?")[0].rpartition("/")[2]
    applied = postgres.execute("SELECT name FROM migrations ORDER BY applied_at, name", name)
    assert sorted(str(row[0]) for row in applied) == sorted(one for one, _ in read_migrations())
    for store in stores:
        await store.close()


async def test_a_migration_that_is_interrupted_is_made_whole_later(postgres: PostgresServer) -> None:
    """Each file is one transaction, so a process that is killed in the middle leaves nothing of it."""
    url = postgres.create_database()
    has_begun = anyio.Event()

    async def migrate_halfway(connection: object) -> None:
        """Begin as `migrate` does, and be killed."""
        assert hasattr(connection, "execute")
        await connection.execute("BEGIN")
        await connection.execute(read_migrations()[0][1])
        has_begun.set()
        await anyio.sleep_forever()

    interrupted = Database(url, prepare=migrate_halfway)
    task = asyncio.ensure_future(interrupted.open())
    await has_begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await interrupted.close()
    whole = Database(url, prepare=migrate)
    await whole.open()
    await whole.close()
