"""The thread, its transactions and its queue."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from flowport.domain.errors import StoreError
from flowport.store.sqlite import thread as worker_module
from flowport.store.sqlite.thread import StoreWorker

PATIENCE_SECONDS = 30
"""When a test gives up on a thread; none waits a hundredth of it."""


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection as the store makes it, to a file with two tables."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("CREATE TABLE IF NOT EXISTS things (n INTEGER PRIMARY KEY)")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS parts (n INTEGER REFERENCES things (n) DEFERRABLE INITIALLY DEFERRED)"
    )
    return connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database lies."""
    return tmp_path / "things.sqlite3"


@pytest.fixture
async def worker(path: Path) -> AsyncIterator[StoreWorker]:
    """Start a worker and close it after the test."""
    started = StoreWorker(connect(path))
    yield started
    await started.close()


def insert(n: int) -> Callable[[sqlite3.Connection], int]:
    """Return an operation that adds a thing."""
    return lambda connection: connection.execute("INSERT INTO things VALUES (?)", (n,)).rowcount


def count(connection: sqlite3.Connection) -> int:
    """Return how many things there are."""
    number: int = connection.execute("SELECT count(*) FROM things").fetchone()[0]
    return number


class Gate:
    """An operation that holds the thread until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.entered.set()
        assert self.opened.wait(PATIENCE_SECONDS)

    async def hold(self, worker: StoreWorker) -> "asyncio.Task[None]":
        """Return once the thread is inside."""
        task = asyncio.create_task(worker.read(self))
        assert await anyio.to_thread.run_sync(self.entered.wait, PATIENCE_SECONDS)
        return task


def insert_and_hold(connection: sqlite3.Connection, gate: Gate) -> None:
    """Add the first thing and stay in the middle of the transaction."""
    insert(1)(connection)
    gate(connection)


async def gather_behind(worker: StoreWorker, *works: Callable[[sqlite3.Connection], object]) -> list[object]:
    """Return the outcomes of writes that were all waiting when the thread came for them."""
    gate = Gate()
    held = await gate.hold(worker)
    tasks = [asyncio.create_task(worker.write(work)) for work in works]
    await asyncio.sleep(0)  # each task runs up to its wait
    gate.opened.set()
    await held
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_write_returns_what_the_operation_returned(worker: StoreWorker) -> None:
    """Compare-and-set methods answer through it."""
    assert await worker.write(insert(1)) == 1
    assert await worker.read(count) == 1


async def test_writes_that_wait_together_share_a_commit(worker: StoreWorker) -> None:
    """A sync of the disk each would make a hundred calls queue for seconds."""
    assert await gather_behind(worker, *map(insert, range(100))) == [1] * 100
    assert (await worker.read(count), worker.commits) == (100, 1)


async def test_a_group_has_a_bound(worker: StoreWorker) -> None:
    """The first of a flood must not wait for the last."""
    await gather_behind(worker, *map(insert, range(worker_module.MAX_GROUP_JOBS + 1)))
    assert worker.commits == 2


async def test_a_failing_operation_undoes_itself_alone(worker: StoreWorker) -> None:
    """One caller's mistake must not lose another's run."""

    def insert_and_fail(connection: sqlite3.Connection) -> None:
        """Write, then fail."""
        insert(2)(connection)
        raise KeyError("mine")

    first, failed, last = await gather_behind(worker, insert(1), insert_and_fail, insert(3))
    assert (first, repr(failed), last) == (1, "KeyError('mine')", 1)
    assert await worker.read(count) == 2


async def test_an_error_of_sqlite_is_reported_as_a_sentence(worker: StoreWorker) -> None:
    """No caller of the store knows the library."""
    await worker.write(insert(1))
    with pytest.raises(StoreError, match="contradicts an earlier one") as caught:
        await worker.write(insert(1))
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)


async def test_a_failing_commit_fails_the_whole_group(worker: StoreWorker) -> None:
    """A caller must not learn that something is on disk which is not."""

    def add_orphan(connection: sqlite3.Connection) -> None:
        """Break a promise that is checked at the commit."""
        connection.execute("INSERT INTO parts VALUES (99)")

    outcomes = await gather_behind(worker, insert(1), add_orphan)
    assert [type(outcome) for outcome in outcomes] == [StoreError, StoreError]
    assert (await worker.read(count), worker.commits) == (0, 0)


async def test_a_transaction_that_sqlite_undid_fails_the_whole_group(worker: StoreWorker) -> None:
    """After a full disk or an I/O error SQLite may roll everything back by itself."""

    def lose_all(connection: sqlite3.Connection) -> None:
        """Fail without a transaction to go back in."""
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("as SQLite does")

    outcomes = await gather_behind(worker, insert(1), lose_all, insert(2))
    assert [type(outcome) for outcome in outcomes] == [StoreError] * 3
    assert await worker.read(count) == 0


async def test_the_worker_goes_on_after_a_failure(worker: StoreWorker) -> None:
    """A disk that was full may have room again."""
    with pytest.raises(ZeroDivisionError):
        await worker.write(lambda _: 1 // 0)
    assert await worker.write(insert(1)) == 1


async def test_a_locked_file_fails_writes_but_not_reads(worker: StoreWorker, path: Path) -> None:
    """What can still be listed and followed must be."""
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process keeps it locked"):
        await worker.write(insert(1))
    assert await worker.read(count) == 0
    other.close()


async def test_a_read_changes_nothing(worker: StoreWorker) -> None:
    """A read takes no turn, so a change in it could fail for no reason; it is undone to be found early."""
    assert await worker.read(insert(1)) == 1
    assert await worker.read(count) == 0


async def test_a_read_may_fail(worker: StoreWorker) -> None:
    """No such run is an answer, too."""
    with pytest.raises(ZeroDivisionError):
        await worker.read(lambda _: 1 // 0)


async def test_a_cancelled_write_is_made_whole_and_locks_no_process_out(worker: StoreWorker, path: Path) -> None:
    """A client that goes away in the middle must not leave the file locked for every other process."""
    gate = Gate()
    task = asyncio.create_task(worker.write(partial(insert_and_hold, gate=gate)))
    assert await anyio.to_thread.run_sync(gate.entered.wait, PATIENCE_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.opened.set()
    assert await worker.read(count) == 1
    other = connect(path)  # waits for no lock
    assert insert(2)(other) == 1
    other.close()


async def test_a_write_cancelled_while_it_waits_is_still_made(worker: StoreWorker) -> None:
    """The id of a paid run is written even when the program is stopping."""
    gate = Gate()
    held = await gate.hold(worker)
    task = asyncio.create_task(worker.write(insert(1)))
    await asyncio.sleep(0)
    task.cancel()
    gate.opened.set()
    await held
    assert await worker.read(count) == 1


def test_a_loop_that_is_gone_disturbs_nothing(path: Path) -> None:
    """At the end of the program the thread may finish after the event loop."""
    worker, gate = StoreWorker(connect(path)), Gate()

    async def leave() -> None:
        """End the loop while the thread is in the middle of a write."""
        task = asyncio.create_task(worker.write(partial(insert_and_hold, gate=gate)))
        assert await anyio.to_thread.run_sync(gate.entered.wait, PATIENCE_SECONDS)
        assert not task.done()

    asyncio.run(leave())
    gate.opened.set()
    asyncio.run(worker.close())
    other = connect(path)
    assert count(other) == 1
    other.close()


async def test_closing_finishes_what_was_queued(worker: StoreWorker) -> None:
    """A change that was asked for before the end is still made."""
    gate = Gate()
    held = await gate.hold(worker)
    task = asyncio.create_task(worker.write(insert(1)))
    closing = [asyncio.create_task(worker.close()) for _ in range(2)]
    await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.gather(held, *closing)
    assert await task == 1


async def test_nothing_is_taken_after_closing(worker: StoreWorker) -> None:
    """A call that waits without limit is worse than one that fails."""
    await worker.close()
    await worker.close()
    with pytest.raises(StoreError, match="it was closed"):
        await worker.read(count)
    with pytest.raises(StoreError, match="it was closed"):
        await worker.write(insert(1))


async def test_the_connection_for_writes_is_closed_last(path: Path) -> None:
    """SQLite removes the journal at the last close, and at none where two connections close at the same time."""
    order: list[str] = []
    writer_closed = threading.Event()

    class Closing(sqlite3.Connection):
        """A connection that notes its end."""

        def close(self) -> None:
            """Close."""
            is_writer = self is writer
            order.append("writer" if is_writer else "reader")
            if is_writer:
                writer_closed.set()
            super().close()

    connect(path).close()
    writer, reader = (
        sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Closing) for _ in range(2)
    )
    worker = StoreWorker(writer, reader)
    await worker.write(insert(1))
    is_reading = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read(_: sqlite3.Connection) -> bool:
        """Keep the reader busy for longer than the writer needs to close."""
        loop.call_soon_threadsafe(is_reading.set)
        return writer_closed.wait(0.2)

    reading = asyncio.create_task(worker.read(read))
    await is_reading.wait()

    await worker.close()

    assert (await reading, order) == (False, ["reader", "writer"])
    assert not path.with_name(f"{path.name}-wal").exists()
