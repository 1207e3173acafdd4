"""A record that another program holds: reads go on, writes wait their own time and no longer."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from flowport.domain.errors import StoreError
from flowport.domain.run_events import Reported
from flowport.store.sqlite.connection import BUSY_SECONDS
from flowport.store.sqlite.reconnect import FIRST_BUSY_SECONDS, open_store
from flowport.store.sqlite.store import SqliteStore, open_sqlite_store
from tests.fakes.client import open_sandbox
from tests.store.samples import OWNER, build_run
from tests.support.harness import open_harness

PATIENCE_SECONDS = 60
"""When a test gives up; none waits a tenth of it."""

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


class Holder:
    """Another program in the middle of a transaction."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def release(self) -> None:
        """End it, and with it its transaction."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@asynccontextmanager
async def hold(path: Path) -> AsyncIterator[Holder]:
    """Let another program hold the record."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, str(path), stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    holder = Holder(process)
    try:
        yield holder
    finally:
        await holder.release()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Return the place of a store with one run."""
    place = tmp_path / "store.sqlite3"
    store = open_sqlite_store(place)
    await store.accept(build_run("run_1"))
    await store.close()
    return place


async def read_all(store: SqliteStore) -> list[str]:
    """Return the ids of the owner's runs, having read them in each way that an answer needs."""
    runs = await store.get_runs(account_id=None, owner=OWNER, limit=10, undelivered_first=False)
    await store.count_undelivered(owner=OWNER)
    await store.take_reminder(owner=OWNER)
    return [(await store.get_run(run.id, account_id=None, owner=OWNER)).id for run in runs]


async def test_reads_do_not_wait_behind_a_write_that_waits(path: Path) -> None:
    """They are answered while it waits, and it is made once the other program lets go."""
    store = open_sqlite_store(path, busy_seconds=PATIENCE_SECONDS)
    async with hold(path) as holder:
        start = asyncio.create_task(store.accept(build_run("run_2")))
        for _ in range(20):
            assert await read_all(store) == ["run_1"]
        assert not start.done()
        await holder.release()
        await start
    assert sorted(await read_all(store)) == ["run_1", "run_2"]
    await store.close()


async def test_a_read_sees_the_writes_that_were_asked_for_before_it(path: Path) -> None:
    """What was noted in the background a moment ago is part of the next answer."""
    store = open_sqlite_store(path)
    for n in range(2, 50):
        accepted = asyncio.create_task(store.accept(build_run(f"run_{n}")))
        await asyncio.sleep(0)  # it runs up to its wait
        assert (await store.get_run(f"run_{n}", account_id=None, owner=OWNER)).id == f"run_{n}"
        await accepted
    await store.close()


async def test_the_waits_of_writes_do_not_add_up(path: Path) -> None:
    """Each gives up after its own time, though others before it have waited for theirs: a hundred in turn would take minutes."""
    store = open_sqlite_store(path, busy_seconds=2.0)
    refused: list[str] = []

    async def start(n: int) -> None:
        """Ask for one run, each after the one before it has begun to wait."""
        with pytest.raises(StoreError) as caught:
            await store.accept(build_run(f"run_{n}"))
        refused.append(caught.value.problem)

    async with hold(path):
        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:
                for n in range(2, 102):
                    tasks.start_soon(start, n)
                    await read_all(store)
    assert refused == ["another process keeps it locked"] * 100
    assert await read_all(store) == ["run_1"]
    await store.close()


async def test_a_write_with_little_patience_does_not_wait_for_one_with_more(path: Path) -> None:
    """What is noted beside an answer gives up first, and the write beside it goes on waiting."""
    store = open_sqlite_store(path, busy_seconds=PATIENCE_SECONDS)
    async with hold(path) as holder:
        start = asyncio.create_task(store.accept(build_run("run_2")))
        with pytest.raises(StoreError, match="another process keeps it locked"):
            await store.record("run_1", Reported(1.0))
        assert not start.done()
        await holder.release()
        await start
    await store.close()


async def test_a_store_that_is_held_when_it_is_opened_is_read_and_repaired(path: Path) -> None:
    """Each read tries again, and waits for that a moment at most."""
    store = open_store(path, busy_seconds=0.0)
    async with hold(path):
        held = open_store(path, retry_seconds=0, busy_seconds=0.0)
        assert await read_all(held) == ["run_1"]
        with pytest.raises(StoreError, match="another process keeps it locked"):
            await held.accept(build_run("run_2"))
    await held.accept(build_run("run_2"))
    assert sorted(await read_all(held)) == sorted(await read_all(store)) == ["run_1", "run_2"]
    await held.close()
    await store.close()


async def test_the_first_opening_waits_a_moment_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client gives a server a few seconds to greet it, however long a later write may wait."""
    assert FIRST_BUSY_SECONDS <= 3
    monkeypatch.setattr("flowport.store.sqlite.reconnect.FIRST_BUSY_SECONDS", 0.0)
    store = open_store(path)
    async with hold(path):
        held = open_store(path, retry_seconds=0, busy_seconds=PATIENCE_SECONDS)
        assert await read_all(held) == ["run_1"]
    await held.accept(build_run("run_2"))
    await held.close()
    await store.close()


def test_a_start_is_refused_within_twelve_seconds() -> None:
    """The one write that it waits for takes no longer than this."""
    assert BUSY_SECONDS <= 10


async def test_what_people_ask_is_answered_while_a_start_waits(tmp_path: Path) -> None:
    """The list of runs and one run, over the whole of Flowport; the start is made when the record is free, once."""
    async with open_sandbox() as sandbox, open_harness(sandbox, tmp_path / "person") as flowport:
        first = await flowport.ask("text_to_picture", prompt="a lake")
        async with hold(tmp_path / "person/home/store.sqlite3") as holder:
            start = asyncio.create_task(flowport.ask("text_to_picture", prompt="a hill"))
            listed = [row["run_id"] for row in (await flowport.ask("list_runs"))["runs"]]
            got = await flowport.ask("get_run", run_id=first["run_id"])
            assert not start.done()
            await holder.release()
            made = await start
        assert (listed, got["state"], made["state"]) == ([first["run_id"]], "succeeded", "succeeded")
        assert await flowport.count("run") == 2


async def test_a_start_on_a_held_record_is_refused_once(tmp_path: Path) -> None:
    """Nothing is sent and nothing is tried again."""
    async with open_sandbox() as sandbox, open_harness(sandbox, tmp_path / "person") as flowport:
        await flowport.client.list_tools()
        async with hold(tmp_path / "person/home/store.sqlite3"):
            refusal = await flowport.call("text_to_picture", prompt="a hill")
        assert refusal.is_error
        assert "another process keeps it locked" in getattr(refusal.content[0], "text", "")
        assert (await flowport.ask("list_runs"))["runs"] == []
        assert await flowport.count("run") == 0


def test_the_other_program_really_holds_the_record(tmp_path: Path) -> None:
    """What the tests above rest on."""
    with sqlite3.connect(tmp_path / "x") as one:
        one.execute("PRAGMA journal_mode = WAL")
    one.close()

    async def try_to_write() -> None:
        """Write beside it."""
        async with hold(tmp_path / "x"):
            other = sqlite3.connect(tmp_path / "x", timeout=0, isolation_level=None)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            other.close()

    asyncio.run(try_to_write())
