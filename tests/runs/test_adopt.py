"""Runs of a key that is no longer configured."""

from dataclasses import replace
from pathlib import Path

import pytest

from flowport.domain.errors import Breakage, Operation, StoreError
from flowport.domain.models import Run, RunState
from flowport.store.process_lock import ProcessLock
from tests.runs.benches import open_bench
from tests.runs.samples import RUN, build_status, read
from tests.support.scripted import (
    ACCOUNT,
    Answer,
    FaultyStore,
    Reply,
    build_answer,
    build_breakage,
    in_turn,
)

OLD = replace(RUN, account_id="magnific:api.example:f0", state=RunState.RUNNING, provider_run_id="remote-1")
FOUND = build_status("running")


async def adopt(store: FaultyStore, folder: Path, answer: Answer, run: Run = OLD) -> tuple[Run, int]:
    """Try to adopt a run; return the outcome and the number of requests."""
    await store.accept(run)
    async with open_bench(store, folder, answer) as bench:
        once = await bench.recovery.adopt(run)
        assert await bench.recovery.adopt(once) == once
        return once, len(bench.account.asked)


async def test_a_run_that_the_present_key_can_read_is_adopted(store: FaultyStore, tmp_path: Path) -> None:
    """A new key of the same account continues the runs that the old one paid for."""
    adopted, asked = await adopt(store, tmp_path, in_turn(FOUND))
    assert (adopted, asked) == (replace(OLD, account_id=ACCOUNT.id), 1)
    assert await read(store) == adopted


@pytest.mark.parametrize("status", [403, 404, 422])
async def test_a_run_that_the_present_key_cannot_read_is_tried_once(
    store: FaultyStore, tmp_path: Path, status: int
) -> None:
    """It belongs to another account; a restart does not repeat the request, a new key does."""
    tried, asked = await adopt(store, tmp_path, in_turn(build_answer(None, status)))
    assert (tried, asked) == (replace(OLD, adoption_tried_by=ACCOUNT.id), 1)
    assert await read(store) == tried


@pytest.mark.parametrize(
    "reply",
    [
        build_breakage(Breakage.NO_CONNECTION, Operation.READ_RUN),
        build_answer(None, 401),
        build_answer(None, 429),
        build_answer(None, 500),
    ],
    ids=["no-network", "bad-key", "busy", "broken"],
)
async def test_a_failed_request_decides_nothing(store: FaultyStore, tmp_path: Path, reply: Reply) -> None:
    """A network outage of a minute must not make a result unreachable permanently."""
    tried, asked = await adopt(store, tmp_path, in_turn(last=reply))
    assert (tried, asked, await read(store)) == (OLD, 2, OLD)


@pytest.mark.parametrize(
    "run",
    [
        replace(OLD, account_id=ACCOUNT.id),
        replace(OLD, account_id="magnific:elsewhere.example:f0"),
        replace(OLD, account_id="magica:api.example:f0"),
        replace(OLD, provider_run_id=""),
    ],
    ids=["ours", "other-host", "other-provider", "without-id"],
)
async def test_no_other_run_is_requested(store: FaultyStore, tmp_path: Path, run: Run) -> None:
    """A key is sent only to its own host."""
    assert await adopt(store, tmp_path, in_turn(), run) == (run, 0)


async def test_a_run_of_a_running_process_is_not_adopted(store: FaultyStore, tmp_path: Path) -> None:
    """Two clients may be configured with two keys; each has its own."""
    other = ProcessLock(tmp_path / "home")
    run = replace(OLD, process_id=other.process_id)
    assert await adopt(store, tmp_path, in_turn(), run) == (run, 0)
    other.release()


async def test_an_unrecorded_verdict_is_reported(store: FaultyStore, tmp_path: Path) -> None:
    """The caller decides whether that matters."""
    store.failing.add("AdoptionTried")
    with pytest.raises(StoreError):
        await adopt(store, tmp_path, in_turn(build_answer(None, 404)))
