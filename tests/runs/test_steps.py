"""The next step of a run, by examples, and its execution by any process from the record alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from flowport.catalog.listing import Listing
from flowport.domain.models import ENDED_UNSENT, ENDED_WHILE_STARTING, FINAL_STATES, Output, OutputKind, Run, RunState
from flowport.runs.steps import Conduct, Done, Download, Drop, MarkUnknown, Poll, Start, Step, next_step
from flowport.runs.submit import RunRequest
from tests.runs.benches import OneApp, open_bench
from tests.runs.samples import APP, DONE, NOW, PROMPT, RUN, RUNNING, TAKEN, build_status, read
from tests.support.scripted import ACCOUNT, FaultyStore, in_turn

S = RunState
LINKED = Output(1, OutputKind.IMAGE, "https://cdn.example/1.png")
SAVED = replace(LINKED, saved_path="/kept.png")
TEXT = Output(1, OutputKind.TEXT, None, text="hello")
QUEUED = replace(RUNNING, state=S.QUEUED)
LISTING = Listing(replace(APP, inputs=(PROMPT,)), "sketch", {"in-1": "prompt"})
BATCH = replace(RUN, id="batch_1", state=S.RUNNING, row_count=3)


def build_over(state: RunState, *outputs: Output) -> Run:
    """Return a run that has ended with these outputs."""
    return replace(RUNNING, state=state, finished_at=NOW, outputs=outputs)


STEPS: list[tuple[str, Run, Step]] = [
    ("accepted here", RUN, Start()),
    ("accepted, its id given", replace(RUN, reported_at=NOW), Start()),
    ("claimed, its id given", replace(RUN, lease=2, reported_at=NOW), Start()),
    ("claimed, its id unknown", replace(RUN, lease=2), Drop()),
    ("starting", replace(RUN, state=S.STARTING, starting_at=NOW), MarkUnknown()),
    ("starting, claimed", replace(RUN, state=S.STARTING, lease=3), MarkUnknown()),
    ("queued", QUEUED, Poll()),
    ("running", RUNNING, Poll()),
    ("started at an unknown time", replace(RUNNING, started_at=None), Poll()),
    ("no longer polled", replace(RUNNING, is_followed=False), Done()),
    ("unknown", build_over(S.UNKNOWN), Done()),
    ("succeeded, unsaved", build_over(S.SUCCEEDED, LINKED), Download()),
    ("succeeded, one of two unsaved", build_over(S.SUCCEEDED, SAVED, replace(LINKED, n=2)), Download()),
    ("succeeded, link expired", build_over(S.SUCCEEDED, replace(LINKED, expires_at=NOW - 1)), Download()),
    ("succeeded, saved", build_over(S.SUCCEEDED, SAVED), Done()),
    ("succeeded, text", build_over(S.SUCCEEDED, TEXT), Done()),
    ("partial, unsaved", build_over(S.PARTIAL, LINKED), Download()),
    ("failed, unsaved", build_over(S.FAILED, LINKED), Download()),
    ("cancelled, unsaved", build_over(S.CANCELLED, LINKED), Download()),
    ("failed", build_over(S.FAILED), Done()),
    ("a batch", BATCH, Conduct(BATCH)),
    ("a claimed batch", replace(BATCH, lease=2), Conduct(replace(BATCH, lease=2))),
    ("a batch that is over", replace(BATCH, state=S.PARTIAL), Done()),
]


@pytest.mark.parametrize(("run", "step"), [row[1:] for row in STEPS], ids=[row[0] for row in STEPS])
def test_the_next_step_follows_from_the_record(run: Run, step: Step) -> None:
    """The process that claims a run has nothing else."""
    assert next_step(run) == step


@pytest.mark.parametrize("state", RunState)
def test_each_state_has_a_step(state: RunState) -> None:
    """Only a run that has ended, and has nothing to save, needs nothing."""
    step = next_step(replace(RUNNING, state=state))
    assert isinstance(step, Done) is (state in FINAL_STATES)


@pytest.mark.parametrize("state", FINAL_STATES)
def test_nothing_is_downloaded_if_saving_is_off(state: RunState) -> None:
    """The setting is applied to the step."""
    assert next_step(build_over(state, LINKED), should_save=False) == Done()


@pytest.mark.parametrize(
    ("left", "state", "failure"),
    [
        (replace(RUN, lease=2), S.CANCELLED, ENDED_UNSENT),
        (replace(RUN, lease=2, state=S.STARTING), S.UNKNOWN, ENDED_WHILE_STARTING),
        (replace(RUNNING, lease=2), S.FAILED, "The app failed. Magnific does not say why."),
    ],
    ids=["unsent", "starting", "running"],
)
async def test_a_process_that_never_saw_the_call_executes_the_step(
    store: FaultyStore, tmp_path: Path, left: Run, state: RunState, failure: str
) -> None:
    """A worker elsewhere has only the record."""
    await store.accept(left)
    async with open_bench(store, tmp_path, in_turn(build_status("failed"))) as bench:
        await store.claim(left.id, bench.process.process_id, lease=2)
        held = await read(store)
        assert await bench.runner.advance(held) is None
        assert bench.live_runs.get(held.id) is None
    over = await read(store)
    assert (over.state, over.failure) == (state, failure)


async def test_one_step_names_the_run_for_the_next(store: FaultyStore, tmp_path: Path) -> None:
    """A run that has ended with pictures is returned, so that a job for its download can follow."""
    await store.accept(RUNNING)
    async with open_bench(store, tmp_path, in_turn(build_status("completed", images=1))) as bench:
        after = await bench.runner.advance(RUNNING)
        assert after == await read(store)
        assert after is not None
        assert bench.runner.get_step(after) == Download()


async def test_a_run_that_is_polled_is_not_polled_twice(store: FaultyStore, tmp_path: Path) -> None:
    """Two tasks would poll twice as often."""
    await store.accept(RUNNING)
    async with open_bench(store, tmp_path, in_turn(DONE)) as bench:
        bench.runner.follow(RUNNING)
        bench.runner.follow(RUNNING)
        assert (await bench.finish(RUNNING)).state is S.SUCCEEDED
        assert len(bench.account.asked) == 1


async def test_a_worker_prepares_the_call_again_from_the_record(store: FaultyStore, tmp_path: Path) -> None:
    """The process with the arguments in memory has ended; each step is one call of `advance`."""
    async with open_bench(store, tmp_path, in_turn(TAKEN, build_status("failed"))) as bench:
        call = await bench.preparer.prepare(bench.account, LISTING, {"prompt": "a lake"}, RunRequest("local"))
        left = replace(RUN, reported_at=NOW, canonical_digest=call.canonical_digest)
        await store.accept(left)
        bench.catalogs[ACCOUNT.id] = OneApp(store, bench.clock, tmp_path, LISTING)
        await store.claim(left.id, bench.process.process_id, lease=left.lease)
        started = await bench.runner.advance(await read(store))
        assert started is not None
        assert (started.state, started.provider_run_id) == (S.RUNNING, "remote-1")
        assert await bench.runner.advance(started) is None
    assert (await read(store)).state is S.FAILED
