"""The request windows in a database: real connections, real locks, processes that stop, and a database that goes away."""

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from functools import partial

import anyio
import psycopg
import pytest

from flowport.domain.errors import StoreError
from flowport.domain.models import BootTime
from flowport.store.postgres.rate_windows import CLOCK, HOLD_SECONDS, RateWindowTable
from tests.support.fake_clock import FakeClock
from tests.support.postgres import PostgresServer, open_postgres
from tests.support.virtual_database import VirtualDatabase


def append(word: str, text: str, _: BootTime | None) -> tuple[str, str]:
    """Return a text with a word more, and what it was."""
    return f"{text} {word}".strip(), text


def note(word: str, text: str, _: BootTime | None) -> tuple[str, None]:
    """Return a text with a word more."""
    return f"{text} {word}".strip(), None


def read_time(text: str, at: BootTime | None) -> tuple[str, float]:
    """Return the text as it is, and the instant."""
    assert at is not None
    assert at.boot_id == CLOCK
    return text, at.seconds


@pytest.fixture
def virtual(postgres: PostgresServer) -> VirtualDatabase:
    """Make a database whose clock the test sets."""
    return VirtualDatabase(postgres)


@pytest.fixture
async def open_table() -> AsyncIterator[Callable[[str], RateWindowTable]]:
    """Open tables, each of which stands for a process, and close them."""
    async with AsyncExitStack() as stack:

        def open_one(url: str) -> RateWindowTable:
            """Open one more."""
            table = RateWindowTable(url)
            stack.push_async_callback(table.close)
            return table

        yield open_one


OpenTable = Callable[[str], RateWindowTable]


async def test_each_change_sees_all_earlier_ones_of_every_process(database_url: str, open_table: OpenTable) -> None:
    """So do the texts of two accounts, and what is done in the background comes before what is asked for later."""
    tables = [open_table(database_url) for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for table in tables * 20:
            tasks.start_soon(table.change, "a", partial(append, "x"))
    tables[0].post("a", partial(note, "last"))
    assert await tables[0].change("a", partial(append, "")) == " ".join(["x"] * 60 + ["last"])
    assert await tables[1].change("b", partial(append, "y")) == ""


async def test_what_comes_meanwhile_is_done_in_the_same_transaction(
    database_url: str, open_table: OpenTable, postgres: PostgresServer
) -> None:
    """Hundreds of responses say something of their limits while one request waits for another process."""
    table = open_table(database_url)
    await table.change("a", partial(append, "x"))
    before = _count_commits(postgres, database_url)
    with closing(psycopg.connect(database_url)) as other:
        other.execute("SELECT 1 FROM rate_windows WHERE key = 'a' FOR UPDATE")
        for _ in range(50):
            table.post("a", partial(note, "y"))
        await _wait_for_lock(postgres)
    text = await table.change("a", partial(append, ""))
    assert text.split() == ["x", *["y"] * 50]
    assert _count_commits(postgres, database_url) - before < 20


def _count_commits(postgres: PostgresServer, url: str) -> int:
    """Return how many transactions of a database were committed."""
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    postgres.execute("SELECT pg_stat_clear_snapshot(), pg_stat_force_next_flush()")
    (row,) = postgres.execute(f"SELECT xact_commit FROM pg_stat_database WHERE datname = '{name}'")
    return int(str(row[0]))


async def _wait_for_lock(postgres: PostgresServer) -> None:
    """Wait until a process waits for a row."""
    while not postgres.execute("SELECT 1 FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - the other side is a database
        await anyio.sleep(0.002)


async def test_a_change_that_fails_changes_nothing_and_stops_no_other(database_url: str, open_table: OpenTable) -> None:
    """A mistake of ours must not lock out every other process, nor those who asked at the same moment."""
    table = open_table(database_url)
    await table.change("a", partial(append, "x"))

    def fail(text: str, _: BootTime | None) -> tuple[str, str]:
        """Stand for a mistake."""
        raise ZeroDivisionError(text)

    with pytest.raises(ZeroDivisionError):
        await table.change("a", fail)
    assert await table.change("a", partial(append, "y")) == "x"


async def test_a_mistake_in_the_background_is_logged(
    database_url: str, open_table: OpenTable, caplog: pytest.LogCaptureFixture
) -> None:
    """No caller awaits it, and it must not be lost."""

    def fail(text: str, _: BootTime | None) -> tuple[str, None]:
        """Stand for a mistake."""
        raise ZeroDivisionError(text)

    table = open_table(database_url)
    table.post("a", fail)
    assert await table.change("a", partial(append, "x")) == ""
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_change_does_not_wait_for_the_disk(database_url: str, open_table: OpenTable) -> None:
    """A window that a crash loses is over within a minute; the store's own transactions wait as ever."""
    table = open_table(database_url)
    synced = await table.change("a", lambda text, _: (text + "x", _read_setting(table, "synchronous_commit")))
    assert synced == "off"


def _read_setting(table: RateWindowTable, name: str) -> str:
    """Return a setting inside the transaction of a change."""
    connection = table._connection
    assert connection is not None
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


async def test_a_row_that_stays_locked_is_an_error_and_used_again_when_it_is_free(
    database_url: str, open_table: OpenTable, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process goes by itself meanwhile; a failure without a waiting caller is logged."""
    table = open_table(database_url)
    await table.change("a", partial(append, "x"))
    with closing(psycopg.connect(database_url)) as other, caplog.at_level(logging.INFO):
        other.execute("SELECT 1 FROM rate_windows WHERE key = 'a' FOR UPDATE")
        with pytest.raises(StoreError):
            await table.change("a", partial(append, "y"))
        table.post("a", partial(note, "y"))
        while "another process keeps" not in caplog.text:  # noqa: ASYNC110 - it happens on a thread
            await anyio.sleep(0.01)
    assert await table.change("a", partial(append, "z")) == "x"


HOLDER = """
import asyncio, sys
from signal import SIGSTOP, pthread_kill
from threading import get_ident
from flowport.store.postgres.rate_windows import RateWindowTable

stops = iter([SIGSTOP])

def stop(text, at):
    for signal in stops:
        print("in", flush=True)
        pthread_kill(get_ident(), signal)
    return text + " late", "late"

async def run():
    table = RateWindowTable(sys.argv[1])
    print(await table.change("a", stop), flush=True)

asyncio.run(run())
"""
"""A process that is stopped in the middle of a change, as by a suspended machine."""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGSTOP")
async def test_a_process_that_is_stopped_in_a_change_is_cut_off_and_goes_on_later(
    database_url: str, open_table: OpenTable
) -> None:
    """It would hold up the requests of every other process; what it wanted is done once it wakes up."""
    table = open_table(database_url)
    await table.change("a", partial(append, "x"))
    command = [sys.executable, "-c", HOLDER, database_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:  # noqa: ASYNC220 - a test may block its loop
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        assert HOLD_SECONDS < 1.0
        assert await table.change("a", partial(append, "y")) == "x"
        other.send_signal(getattr(signal, "SIGCONT", 0))
        assert other.stdout.readline() == "late\n"
        assert other.wait(60) == 0
    assert await table.change("a", partial(append, "")) == "x y late"


async def test_a_database_that_is_down_is_an_error_soon_and_used_again_when_it_is_back(
    open_table: OpenTable, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests go on with a part of the limit meanwhile; no line says where the database is."""
    with open_postgres() as server:
        url = server.create_database()
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute("CREATE TABLE processes (ended_at timestamptz, beat_at timestamptz)")
            connection.execute(
                "CREATE TABLE rate_windows (key text PRIMARY KEY, text text NOT NULL, seconds float8, last_seconds float8,"
                " used_at timestamptz)"
            )
        table, waiting = open_table(url), open_table(url)
        await table.change("a", partial(append, "x"))
        server.stop()
        for one in (table, waiting):
            with pytest.raises(StoreError, match="cannot be reached"):
                await one.change("a", partial(append, "lost"))
            one.post("a", partial(note, "lost"))
        server.start()
        assert await table.change("a", partial(append, "y")) in {"x", "x lost", "x lost lost"}
        # A connection that the restart has cut is made again, and the caller does not see it.
        server.restart()
        assert (await table.change("a", partial(append, "z"))).endswith("y")
    assert not [record for record in caplog.records if "host=" in record.getMessage() or "/tmp" in record.getMessage()]


async def test_nothing_is_opened_before_it_is_needed() -> None:
    """A budget without a limit needs no connection, and a database that is down delays no start."""
    before = threading.active_count()
    await RateWindowTable("postgresql://127.0.0.1:9/nothing").close()
    assert threading.active_count() <= before + 1


async def test_the_limit_is_divided_among_the_processes_that_live(
    database_url: str, open_table: OpenTable, postgres: PostgresServer
) -> None:
    """While the database is down, five processes with a half each would send more than twice the limit."""
    table = open_table(database_url)
    assert table.parts == 2
    name = str(psycopg.conninfo.conninfo_to_dict(database_url)["dbname"])
    postgres.execute(
        "INSERT INTO processes (id, kind, version, beat_at, ended_at) SELECT 'p' || n, 'serve', '1',"
        " now() - CASE n WHEN 6 THEN interval '1 hour' ELSE interval '0' END, CASE n WHEN 7 THEN now() END"
        " FROM generate_series(1, 7) AS n",
        name,
    )
    await table.change("a", partial(append, "x"))
    assert table.parts == 5


async def test_windows_that_were_not_used_for_a_day_are_forgotten(
    virtual: VirtualDatabase, open_table: OpenTable
) -> None:
    """The keys of people come and go, and each leaves a row."""
    table = open_table(virtual.url)
    await table.change("old", partial(append, "x"))
    virtual.set(virtual.now + 80_000.0)
    await table.change("recent", partial(append, "x"))
    virtual.set(virtual.now + 10_000.0)
    await open_table(virtual.url).change("new", partial(append, "x"))
    while len(virtual.execute("SELECT key FROM rate_windows")) > 2:  # noqa: ASYNC110 - it happens on a thread
        await anyio.sleep(0.002)
    assert sorted(virtual.execute("SELECT key FROM rate_windows")) == [("new",), ("recent",)]


async def test_the_time_is_that_of_the_database(virtual: VirtualDatabase) -> None:
    """Machines have clocks of their own; none of them counts."""
    ahead, behind = FakeClock(), FakeClock()
    ahead.advance(7200.0)
    tables = [RateWindowTable(virtual.url, clock=one) for one in (ahead, behind)]
    seen = [await one.change("a", read_time) for one in tables]
    virtual.set(virtual.now + 5.0)
    for clock in (ahead, behind):
        clock.advance(5.0)
    seen += [await one.change("a", read_time) for one in tables]
    assert [round(one - seen[0], 6) for one in seen] == [0.0, 0.0, 5.0, 5.0]
    for one in tables:
        await one.close()


async def test_a_clock_of_the_database_that_is_set_moves_no_window(virtual: VirtualDatabase) -> None:
    """An hour back would void all that was sent, and an hour forward would let it expire at once."""
    clock = FakeClock()
    tables = [RateWindowTable(virtual.url, clock=clock) for _ in range(2)]
    for one in tables:
        await one.change("a", read_time)
    seen = []
    for jump_seconds in (0.0, -3600.0, 0.0, 3600.0, 0.0, 3.0, -3.0):
        clock.advance(10.0)
        virtual.set(virtual.now + 10.0 + jump_seconds)
        seen += [await one.change("a", read_time) - virtual.origin for one in tables]
    # A step back costs the time since the last look, and nothing else does; drift is allowed for.
    assert [round(one, 1) for one in seen] == [
        10.0,
        10.0,
        10.0,
        10.0,
        20.0,
        20.0,
        30.0,
        30.0,
        40.0,
        40.0,
        50.0,
        50.0,
        57.0,
        57.0,
    ]
    for one in tables:
        await one.close()


async def test_a_machine_whose_clock_stood_still_does_not_turn_back_the_others(virtual: VirtualDatabase) -> None:
    """A virtual machine that was paused believes that no time has passed."""
    paused, other = FakeClock(), FakeClock()
    tables = [RateWindowTable(virtual.url, clock=one) for one in (paused, other)]
    for one in tables:
        await one.change("a", read_time)
    other.advance(100.0)
    virtual.set(virtual.now + 100.0)
    assert round(await tables[1].change("a", read_time) - virtual.origin, 3) == 100.0
    assert round(await tables[0].change("a", read_time) - virtual.origin, 3) == 100.0
    for one in tables:
        await one.close()
