"""Transactions on a database whose connections are lost, which is restarted, or which is not there."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest
from psycopg.conninfo import conninfo_to_dict

from flowport.domain.errors import StoreError
from flowport.store.postgres.database import Database
from flowport.store.postgres.transaction import Transaction, Work
from tests.support.postgres import PostgresServer
from tests.support.postgres_proxy import CuttingProxy, open_proxy

PATIENCE_SECONDS = 60.0
"""Of what is expected to succeed, however busy the machine is."""


def get_name(url: str) -> str:
    """Return the name of the database at an address."""
    return str(conninfo_to_dict(url)["dbname"])


@pytest.fixture
async def open_database() -> AsyncIterator[Callable[[str], Database]]:
    """Open databases and close them after the test."""
    opened: list[Database] = []

    def open_one(url: str) -> Database:
        """Open one more."""
        opened.append(Database(url, patience_seconds=PATIENCE_SECONDS))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


@pytest.fixture
async def database(database_url: str, open_database: Callable[[str], Database]) -> Database:
    """Open a database with a table of notes."""
    database = open_database(database_url)

    async def create(transaction: Transaction) -> None:
        """Create the table."""
        await transaction.execute("CREATE TABLE notes (n bigint GENERATED ALWAYS AS IDENTITY, note text)")

    await database.write(create)
    return database


@pytest.fixture
async def proxy(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CuttingProxy]:
    """Start a proxy; its folder's path is short."""
    folder = tmp_path_factory.mktemp("pg")
    async with open_proxy(postgres, folder) as opened:
        yield opened


def write_note(note: str) -> Work[str]:
    """Return the work of writing a note and returning it."""

    async def write(transaction: Transaction) -> str:
        """Write it."""
        transaction.send("INSERT INTO notes (note) VALUES (%s)", (note,))
        return note

    return write


async def read_notes(database: Database) -> list[str]:
    """Return all notes in their order."""

    async def read(transaction: Transaction) -> list[str]:
        """Select them."""
        cursor = await transaction.execute("SELECT note FROM notes ORDER BY n")
        return [str(row[0]) for row in await cursor.fetchall()]

    return await database.read(read)


@pytest.mark.parametrize("is_committed", [False, True])
async def test_a_connection_lost_during_its_commit_does_the_work_once(
    database: Database, open_database: Callable[[str], Database], proxy: CuttingProxy, is_committed: bool
) -> None:
    """Whether the commit or its answer was lost: a start must neither be forgotten nor made twice."""
    other = open_database(proxy.get_url(get_name(database.url)))
    await other.write(write_note("before"))
    if is_committed:
        proxy.cuts_after = 2
    else:
        proxy.cuts_before = 2
    assert await other.write(write_note("first")) == "first"
    assert await other.write(write_note("second")) == "second"
    assert proxy.cut == 2
    assert await read_notes(database) == ["before", "first", "second"]


async def test_many_commits_whose_answers_are_lost_are_each_found(
    database: Database, open_database: Callable[[str], Database], proxy: CuttingProxy
) -> None:
    """Each connection of a process leaves a mark of its own."""
    other = open_database(proxy.get_url(get_name(database.url)))
    await other.write(write_note("0"))
    proxy.cuts_after = 8
    proxy.cuts_before = 8
    notes = [str(n) for n in range(40)]
    assert await asyncio.gather(*(other.write(write_note(note)) for note in notes[1:])) == notes[1:]
    assert proxy.cut == 16
    assert sorted(await read_notes(database)) == sorted(notes)


@pytest.mark.parametrize("is_crash", [False, True])
async def test_a_backend_that_is_killed_during_its_commit_does_the_work_once(
    database: Database, postgres: PostgresServer, is_crash: bool
) -> None:
    """A crash takes every connection with it, and the numbers of the transactions that were lost are given again."""
    name = get_name(database.url)
    # A sequence may lose its first number in the crash; a folder is made once.
    died = postgres.folder / f"died-{name}"
    once = f"(mkdir {died} && kill -9 %s) 2>/dev/null || true"
    how = (
        f"EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', format('{once}', pg_backend_pid()))"
        if is_crash
        else "IF nextval('deaths') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF"
    )
    postgres.execute("CREATE SEQUENCE deaths", name)
    postgres.execute(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF NEW.note = 'deadly' THEN {how}; END IF; RETURN NULL; END $$",
        name,
    )
    postgres.execute(
        "CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION die()",
        name,
    )
    postgres.execute("CHECKPOINT", name)
    notes = ["deadly", *(f"note {n}" for n in range(20))]
    await asyncio.gather(*(database.write(write_note(note)) for note in notes))
    assert sorted(await read_notes(database)) == sorted(notes)
    [(deaths,)] = postgres.execute("SELECT nextval('deaths') - 1", name)
    assert died.exists() if is_crash else int(str(deaths)) >= 2


@pytest.mark.parametrize("is_at_once", [False, True])
async def test_operations_wait_while_the_server_is_restarted(
    database: Database, postgres: PostgresServer, is_at_once: bool
) -> None:
    """Those under way, those in line and those that come meanwhile are done, each once."""
    numbers = iter(range(10**6))
    written: list[str] = []
    is_up_again = anyio.Event()

    async def write_on() -> None:
        """Write until some time after the restart."""
        left = 3
        while left:
            written.append(await database.write(write_note(str(next(numbers)))))
            left -= is_up_again.is_set()

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(write_on)
        await anyio.to_thread.run_sync(lambda: postgres.restart(is_at_once=is_at_once))
        is_up_again.set()
    assert sorted(await read_notes(database)) == sorted(written)


async def test_a_database_that_is_not_there_is_reported_without_its_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The address has the password; the person reads what to do."""
    caplog.set_level(logging.DEBUG)
    url = f"postgresql://flowport:s3cret-word@/team?host={tmp_path}"
    database = Database(url, patience_seconds=0.2)
    for operation in (database.write(write_note("x")), read_notes(database), database.open()):
        with pytest.raises(StoreError, match="the database cannot be reached") as caught:
            await operation
        assert str(tmp_path) not in str(caught.value)
    await database.close()
    assert "s3cret-word" not in caplog.text


async def test_a_wrong_password_is_in_no_log(postgres: PostgresServer, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is it in the sentence."""
    caplog.set_level(logging.DEBUG)
    database = Database(f"postgresql://somerole:s3cret-word@/postgres?host={postgres.folder}", patience_seconds=0.2)
    with pytest.raises(StoreError, match="the database refuses the user or the password"):
        await database.open()
    await database.close()
    assert "s3cret-word" not in caplog.text


async def test_a_server_that_goes_away_is_reported_and_found_again(
    database: Database, database_url: str, postgres: PostgresServer
) -> None:
    """Meanwhile each operation ends with a sentence after its patience, those in line too."""
    impatient = Database(database_url, patience_seconds=0.5)
    await impatient.write(write_note("before"))
    postgres.stop()
    outcomes = await asyncio.gather(*(impatient.write(write_note("lost")) for _ in range(30)), return_exceptions=True)
    assert {type(one) for one in outcomes} == {StoreError}
    await anyio.to_thread.run_sync(postgres.start)
    await impatient.close()
    assert await database.write(write_note("after")) == "after"
    assert await read_notes(database) == ["before", "after"]


async def test_a_closed_database_refuses(database: Database) -> None:
    """Closing finishes what was asked for, and nothing begins afterwards."""
    writes = [asyncio.ensure_future(database.write(write_note(str(n)))) for n in range(30)]
    await asyncio.sleep(0)
    await database.close()
    assert [await one for one in writes] == [str(n) for n in range(30)]
    for operation in (database.write(write_note("x")), read_notes(database), database.open()):
        with pytest.raises(StoreError, match="it was closed"):
            await operation
    await database.close()


async def test_a_cancelled_call_completes_its_change(database: Database) -> None:
    """By a scope or by the task itself: the answer alone is discarded."""
    has_begun, may_go_on = anyio.Event(), anyio.Event()

    async def write(transaction: Transaction) -> None:
        """Write once the caller is gone."""
        has_begun.set()
        await may_go_on.wait()
        await write_note("cancelled")(transaction)

    task = asyncio.ensure_future(database.write(write))
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with anyio.create_task_group() as group:
        has_begun = anyio.Event()
        group.start_soon(database.write, write)
        await has_begun.wait()
        group.cancel_scope.cancel()
    may_go_on.set()
    await database.close()
    reader = Database(database.url)
    assert sorted(await read_notes(reader)) == ["cancelled", "cancelled"]
    await reader.close()


async def test_of_two_transactions_in_a_deadlock_both_are_done(database: Database) -> None:
    """The one that is chosen as the victim is repeated."""
    reached = [anyio.Event(), anyio.Event()]

    def lock(first: int) -> Work[None]:
        """Return work that locks two texts, the other one second."""

        async def work(transaction: Transaction) -> None:
            """Lock one after the other."""
            await transaction.execute("SELECT pg_advisory_xact_lock(%s)", (first,))
            reached[first].set()
            await reached[1 - first].wait()
            await transaction.execute("SELECT pg_advisory_xact_lock(%s)", (1 - first,))
            await write_note(str(first))(transaction)

        return work

    await asyncio.gather(database.write(lock(0)), database.write(lock(1)))
    assert sorted(await read_notes(database)) == ["0", "1"]


async def test_a_process_that_was_paused_in_a_transaction_loses_its_locks_and_does_the_work_again(
    database: Database, open_database: Callable[[str], Database]
) -> None:
    """All other replicas would wait for it."""
    other = open_database(database.url)
    pids: list[int] = []

    async def is_connected(transaction: Transaction) -> bool:
        """Return whether the paused connection is still there."""
        cursor = await transaction.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pids[0],))
        return await cursor.fetchone() is not None

    async def pause(transaction: Transaction) -> None:
        """Wait, the first time, until the database has ended the transaction."""
        await transaction.execute("SELECT pg_advisory_xact_lock(7)")
        if not pids:
            await transaction.execute("SET LOCAL idle_in_transaction_session_timeout = 1")
            pids.append(transaction.connection.info.backend_pid)
            while await other.look_up(is_connected):
                pass
        await write_note("once")(transaction)

    await database.write(pause)
    assert await read_notes(database) == ["once"]


async def test_a_statement_that_is_refused_is_not_repeated_and_leaves_nothing(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The sentence names the kind of the error and none of the values."""
    attempts: list[int] = []

    async def fail(transaction: Transaction) -> None:
        """Send a statement that fails."""
        attempts.append(1)
        transaction.send("INSERT INTO notes (note) VALUES ('secret value')")
        transaction.send("INSERT INTO notes (n) VALUES ('secret value')")
        await transaction.execute("SELECT 1")

    with pytest.raises(StoreError, match="the database has refused an operation") as caught:
        await database.write(fail)
    assert "secret" not in str(caught.value) + caplog.text
    assert attempts == [1]
    assert await read_notes(database) == []


async def test_commits_reach_the_disk_whatever_the_server_does_by_default(database: Database) -> None:
    """The server of these tests does not wait for its disk by default; what is on record must be."""

    async def read(transaction: Transaction) -> str:
        """Read the setting."""
        cursor = await transaction.execute("SHOW synchronous_commit")
        return str((await cursor.fetchall())[0][0])

    assert await database.look_up(read) == "local"


async def test_more_operations_than_connections_wait_their_turn(database_url: str) -> None:
    """Waiting for others says nothing about the database, however long it takes."""
    database = Database(database_url, max_connections=2, patience_seconds=0.2)
    release = anyio.Event()
    counts = {"running": 0, "most": 0}

    async def work(transaction: Transaction) -> None:
        """Hold a connection for a while."""
        await transaction.execute("SELECT 1")
        counts["running"] += 1
        counts["most"] = max(counts["most"], counts["running"])
        await transaction.execute("SELECT pg_sleep(0.1)")
        counts["running"] -= 1

    await asyncio.gather(*(database.write(work) for _ in range(12)))
    release.set()
    assert counts == {"running": 0, "most": 2}
    await database.close()
