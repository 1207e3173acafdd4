"""A damaged page of the database is found by the daily check, before it is needed."""

import psycopg
import pytest

from flowport.domain.errors import StoreError
from flowport.store.postgres.store import open_postgres_store
from tests.store.samples import build_run
from tests.support.postgres import open_postgres


async def test_a_damaged_page_is_found_by_the_check() -> None:
    """Most runs are not read for months, and an index answers in their place."""
    with open_postgres() as server:
        url = server.create_database()
        store = open_postgres_store(url)
        for n in range(20):
            await store.accept(build_run(f"run_{n}", arguments_json="x" * 900))
        await store.check()
        await store.close()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM runs")
            connection.execute("CHECKPOINT")
            row = connection.execute("SELECT pg_relation_filepath('runs')").fetchone()
        assert row is not None
        server.stop()
        with (server.folder / "data" / row[0]).open("r+b") as file:
            file.seek(8192)
            file.write(b"\x5a" * 512)
        server.start()

        again = open_postgres_store(url)
        with pytest.raises(StoreError, match="DataCorrupted"):
            await again.check()
        await again.close()
