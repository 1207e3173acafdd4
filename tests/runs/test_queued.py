"""What a worker knows of a start, and the store does not have: it is recorded before anything else, however long that takes."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.domain.errors import Operation, StoreError
from flowport.domain.models import Run, RunState
from flowport.domain.run_events import StartUnknown
from flowport.network.account import OpenAccount
from flowport.runs.prepare import PreparedCall
from flowport.store.cluster import JobAgain
from flowport.store.interface import Store
from flowport.store.records import Claimed
from tests.runs.benches import Bench, open_bench
from tests.runs.samples import CALL, DONE, NOW, RUN, TAKEN, read
from tests.support.scripted import Answer, FaultyStore, in_turn, wait_until

QUEUED = replace(RUN, process_id="")
"""A run that no worker has claimed."""
ATTEMPTS = 12
"""More than the attempts to record the end of a run of one person."""


async def restore(run: Run, account: OpenAccount) -> PreparedCall:
    """Return the call of the run."""
    assert (run.id, account.account.id) == (QUEUED.id, CALL.account_id)
    return CALL


@asynccontextmanager
async def open_worker(store: FaultyStore, folder: Path, answer: Answer) -> AsyncIterator[Bench]:
    """Open a worker that has a run to carry out."""
    await store.accept(QUEUED)
    async with open_bench(store, folder, answer, should_save=False, is_queued=True, restore=restore) as bench:
        yield bench


class FlakyStore(FaultyStore):
    """A store of which some operations fail so many times."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.left = Counter[str]()
        """How often an operation still fails; an event by the name of its class."""
        self.is_losing = False
        """Whether it fails once it is done, as where the connection is lost before the answer."""

    def __getattribute__(self, name: str) -> Any:
        """Count the failures of the operations of a store."""
        found = super().__getattribute__(name)
        if not hasattr(Store, name) or name.startswith("_"):
            return found

        async def perform(*args: Any, **options: Any) -> Any:
            """Fail, or do it."""
            operation = type(args[1]).__name__ if name == "record" else name
            is_failing = self.left[operation] > 0
            self.left[operation] -= is_failing
            if is_failing and self.is_losing:
                await found(*args, **options)
            if is_failing:
                raise StoreError("the database cannot be reached", "Wait.")
            return await found(*args, **options)

        return perform


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FlakyStore]:
    """Open such a store, and close it after the test."""
    opened = FlakyStore(tmp_path / "store.sqlite3")
    yield opened
    await opened.close()


async def wait_for_state(bench: Bench, state: RunState) -> None:
    """Wait until the run is on record in a state."""
    while (await read(bench.store)).state is not state:
        await bench.clock.sleep(1.0)


async def test_a_reply_is_recorded_before_its_run_is_polled(store: FlakyStore, tmp_path: Path) -> None:
    """The first poll may be minutes away, and a worker that is killed until then takes the id along."""
    seen: list[Run] = []

    async def note() -> None:
        """Read the record while a request is on its way."""
        seen.append(await read(store))

    async with open_worker(store, tmp_path, in_turn(TAKEN, DONE)) as bench:
        bench.account.before_answer = note
        store.left["StartAcknowledged"] = ATTEMPTS
        await bench.queued.execute(QUEUED.id)

    assert [(one.state, one.provider_run_id) for one in seen] == [
        (RunState.STARTING, ""),
        (RunState.RUNNING, "remote-1"),
    ]
    assert (await read(store)).state is RunState.SUCCEEDED


async def test_a_reply_is_recorded_after_its_job_was_stopped(store: FlakyStore, tmp_path: Path) -> None:
    """The queue takes a worker for dead after an outage, and another one has the job; the reply counts all the same."""
    async with open_worker(store, tmp_path, in_turn(TAKEN)) as bench:
        store.failing.add("StartAcknowledged")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.queued.execute, QUEUED.id)
            await wait_until(lambda: "StartAcknowledged" in store.called)
            tasks.cancel_scope.cancel()
        kept = await read(store)
        claimed = await store.claim(QUEUED.id, "other", lease=kept.lease)
        assert isinstance(claimed, Claimed)
        await store.record(QUEUED.id, StartUnknown("ended", NOW), claimed.run.lease)
        store.failing.clear()
        await wait_for_state(bench, RunState.RUNNING)
        after = await read(store)

    assert kept.state is RunState.STARTING
    assert (after.provider_run_id, after.lease) == ("remote-1", claimed.run.lease)
    assert bench.account.count(Operation.START_RUN) == 1


async def test_a_reply_makes_no_run_unknown_whose_job_is_stopped(store: FlakyStore, tmp_path: Path) -> None:
    """The store can be written again at the very moment at which the worker gives the run up."""
    async with open_worker(store, tmp_path, in_turn(TAKEN)) as bench:
        held = store.held["StartAcknowledged"] = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.queued.execute, QUEUED.id)
            await wait_until(lambda: "StartAcknowledged" in store.called)
            del store.held["StartAcknowledged"]
            tasks.cancel_scope.cancel()
        held.set()
        await wait_for_state(bench, RunState.RUNNING)

    assert "StartUnknown" not in store.called[: store.called.index("StartAcknowledged") + 2]
    assert (await read(store)).provider_run_id == "remote-1"


async def test_the_end_of_a_run_is_recorded_however_long_it_takes(store: FlakyStore, tmp_path: Path) -> None:
    """A caller waits for it at a replica, which has the record alone."""
    async with open_worker(store, tmp_path, in_turn(TAKEN, DONE)) as bench:
        store.left["Finished"] = ATTEMPTS
        await bench.queued.execute(QUEUED.id)

    assert (await read(store)).state is RunState.SUCCEEDED


async def test_a_start_that_was_not_sent_is_withdrawn_before_another_worker_has_its_job(
    store: FlakyStore, tmp_path: Path
) -> None:
    """Another worker finds the run as it is being started, and would take its outcome for unknown."""
    async with open_worker(store, tmp_path, in_turn(TAKEN, DONE)) as bench:
        store.is_losing = True
        store.left["StartRequested"] = 1
        store.left["get_run_of_any_owner"] = ATTEMPTS
        with pytest.raises(JobAgain):
            await bench.queued.execute(QUEUED.id)
        given_back = await read(store)
        sent = bench.account.count(Operation.START_RUN)
        await bench.queued.execute(QUEUED.id)

    assert (given_back.state, sent) == (RunState.ACCEPTED, 0)
    assert ((await read(store)).state, bench.account.count(Operation.START_RUN)) == (RunState.SUCCEEDED, 1)


async def test_an_outage_is_logged_once_for_each_run(
    store: FlakyStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may last for hours, with an attempt every few seconds."""
    async with open_worker(store, tmp_path, in_turn(TAKEN, DONE)) as bench:
        store.left["StartAcknowledged"] = ATTEMPTS
        await bench.queued.execute(QUEUED.id)

    assert [one.levelname for one in caplog.records if "is not recorded" in one.message].count("ERROR") == 1
