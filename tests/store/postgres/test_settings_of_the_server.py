"""What an administrator has set for the database changes none of the promises."""

from dataclasses import replace

import anyio
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flowport.domain.errors import StoreError
from flowport.domain.models import Run, RunState
from flowport.store.postgres.database import Database
from flowport.store.postgres.store import open_postgres_store
from flowport.store.postgres.transaction import Transaction
from flowport.store.records import Accepted, AcceptOutcome, Joined
from tests.store.contract.test_accept import build_equal, build_rules
from tests.store.samples import RUN
from tests.support.patience import PATIENCE_SECONDS
from tests.support.postgres import PostgresServer, create_migrated

pytestmark = pytest.mark.anyio


def set_default(server: PostgresServer, name: str, value: str) -> str:
    """Return the address of a new database with our tables, for which a setting has a value."""
    url = create_migrated(server)
    server.execute(f"ALTER DATABASE {conninfo_to_dict(url)['dbname']} SET {name} = '{value}'")
    return url


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_equal_calls_at_once_are_paid_once_at_every_isolation_level(postgres: PostgresServer, level: str) -> None:
    """A snapshot that is older than the wait for the other call would not show its run."""
    url = set_default(postgres, "default_transaction_isolation", level)
    stores = [open_postgres_store(url) for _ in range(2)]
    outcomes: list[AcceptOutcome] = []

    async def call(n: int) -> None:
        """Ask at one of two replicas."""
        outcomes.append(await stores[n].accept(build_equal(f"run_{n}"), build_rules(f"call_{n}")))

    with psycopg.connect(url, autocommit=True) as watcher:
        run = build_equal("run_0")
        asked = f"raw {run.raw_digest} {run.account_id} {run.app_id} {run.owner}"
        lock = "pg_advisory_{}lock(hashtextextended(%s, 0))"
        watcher.execute(f"SELECT {lock.format('')}", (asked,))
        async with anyio.create_task_group() as tasks:
            for n in range(2):
                tasks.start_soon(call, n)
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
            )
            with anyio.fail_after(PATIENCE_SECONDS):
                while watcher.execute(waiting).fetchone() != (2,):  # noqa: ASYNC110 - the server has no event for us
                    await anyio.sleep(0.01)
            watcher.execute(f"SELECT {lock.format('un')}", (asked,))
    for store in stores:
        await store.close()
    assert {type(one) for one in outcomes} == {Accepted, Joined}


async def test_instants_come_back_as_they_were_written(postgres: PostgresServer) -> None:
    """Some are compared with each other, and a server may be set to leave digits out."""
    store = open_postgres_store(set_default(postgres, "extra_float_digits", "0"))
    run: Run = replace(RUN, id="run_1", state=RunState.ACCEPTED, accepted_at=1_764_543_241.1234567, outputs=())
    await store.accept(run)
    assert (await store.get_run_of_any_owner(run.id)).accepted_at == run.accepted_at
    await store.close()


async def test_a_setting_of_the_server_is_left_to_it(postgres: PostgresServer) -> None:
    """A limit for statements, for example, is the administrator's to set."""
    database = Database(set_default(postgres, "statement_timeout", "1min"))

    async def look(transaction: Transaction) -> object:
        """Return the setting."""
        return await (await transaction.execute("SHOW statement_timeout")).fetchone()

    assert await database.look_up(look) == ("1min",)
    await database.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_every_character_is_kept_or_the_database_refused(postgres: PostgresServer, encoding: str) -> None:
    """A database that cannot keep the name of a result must not begin to take runs."""
    name = f"in_{encoding.lower()}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
    store = open_postgres_store(postgres.get_url(name))
    run = build_equal("run_0", app_name="Gr\u00f6\u00dfe \u732b \U0001f600")
    if encoding == "LATIN1":
        with pytest.raises(StoreError, match="UTF8"):
            await store.accept(run)
    else:
        await store.accept(run)
        assert await store.get_run_of_any_owner(run.id) == run
    await store.close()
