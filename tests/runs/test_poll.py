"""Looking at a run until it is over: it is paid for, so no failure of a look gives it up."""

import itertools
import logging
from dataclasses import replace
from typing import Any

import anyio
import pytest

from flowport.domain.errors import Breakage, Operation
from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.domain.run_events import Finished, Started
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import ApiRequest
from flowport.runs.live import LiveRuns, PendingWrites
from flowport.runs.poll import RunPoller
from flowport.runs.steps import LOST_AFTER_SECONDS
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Pace
from tests.runs.samples import NOW, RUN, build_look, get_instant, read
from tests.support.fake_clock import FakeClock
from tests.support.scripted import (
    Answer,
    FaultyStore,
    Reply,
    ScriptedAccount,
    build_answer,
    build_breakage,
    in_turn,
    wait_until,
)

RUNNING = replace(
    RUN, state=RunState.RUNNING, provider_run_id="remote-1", starting_at=NOW, started_at=NOW, running_at=NOW
)
DONE = build_look("completed")
GONE = build_answer({"message": "Not found"}, 404)
OUTPUT = Output(
    n=1,
    kind=OutputKind.IMAGE,
    url=f"https://cdn.example/0.png?token=exp_{int(NOW) + 3600}",
    provider_output_id="c0",
    mime_type="image/png",
    expires_at=NOW + 3600,
)


async def follow(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, answer: Answer, run: Run = RUNNING
) -> tuple[Run, ScriptedAccount]:
    """Put a run at the provider and follow it; return it with the account that was asked."""
    await store.accept(run)
    live_runs.put(run, noted_at=0.0)
    account = ScriptedAccount(answer, clock)
    return (await follow_on(store, live_runs, clock, account, run)), account


async def follow_on(
    store: FaultyStore,
    live_runs: LiveRuns,
    clock: FakeClock,
    account: ScriptedAccount,
    run: Run = RUNNING,
    *,
    writer: PendingWrites | None = None,
) -> Run:
    """Follow a run by a follower of its own."""
    async with Supervisor() as supervisor:
        follower = RunPoller(
            store, live_runs, clock, Pace(), writer or PendingWrites(store, live_runs, clock), supervisor=supervisor
        )
        return await follower.follow(run, account)


@pytest.mark.parametrize(
    ("look", "changes"),
    [
        (build_look("completed", images=1), {"state": RunState.SUCCEEDED, "outputs": (OUTPUT,)}),
        (
            DONE,
            {
                "state": RunState.SUCCEEDED,
                "failure": "The app finished, but Magnific handed over no result that Flowport can read.",
            },
        ),
        (
            build_look("completed_with_errors", images=1, message="Node 'b' failed"),
            {
                "state": RunState.PARTIAL,
                "outputs": (OUTPUT,),
                "failure": "Some steps of the app failed; what it made is here. Magnific says: \"Node 'b' failed\"",
            },
        ),
        (
            build_look("completed_with_errors", message="Node 'b' failed"),
            {"state": RunState.FAILED, "failure": "The app failed. Magnific says: \"Node 'b' failed\""},
        ),
        (
            build_look("failed"),
            {"state": RunState.FAILED, "failure": "The app failed. Magnific does not say why."},
        ),
        (build_look("cancelled"), {"state": RunState.CANCELLED, "failure": "The run was cancelled at the provider."}),
        (
            build_look("cancelled", message="by its owner"),
            {
                "state": RunState.CANCELLED,
                "failure": 'The run was cancelled at the provider. Magnific says: "by its owner"',
            },
        ),
    ],
)
async def test_each_end_is_written_down_whole(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, look: Reply, changes: dict[str, Any]
) -> None:
    """The outputs, the reason and what it cost: a restart must know all of it."""
    over, account = await follow(store, live_runs, clock, in_turn(look))
    over_now = replace(RUNNING, finished_at=NOW + 2.5, spent_credits=5.0, reserved_credits=0.0)
    expected = replace(over_now, **changes)
    assert (over, await read(store)) == (expected, expected)
    assert account.asked == [ApiRequest(Operation.READ_RUN, "GET", "/v1/ai/flows/runs/remote-1")]
    assert account.priorities == [Priority.POLL]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (
            [{"url": "https://x/a.png"}, {"id": "x1", "token": "abcdefgh12345678"}],
            "1 item of the result could not be read: \"{'id':'x1','token':'[hidden]'}\".",
        ),
        (
            [{"url": "ftp://x/a.png"}, 7, True, 8],
            (
                "The app finished, but Magnific handed over no result that Flowport can read. 4 items of the result could not be "
                'read: "{\'url\':\'ftp://x/a.png\'}", "7", "true", ...'
            ),
        ),
    ],
)
async def test_what_cannot_be_read_of_a_result_is_counted_and_kept(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, images: list[object], expected: str
) -> None:
    """It was paid for, and a person who asks the provider about it needs its words; secrets are no part of them."""
    body = {"data": {"run_id": "remote-1", "status": "completed", "result": {"images": images}}}
    over, _ = await follow(store, live_runs, clock, in_turn(build_answer(body)))
    assert (over.state, over.failure.rstrip(".")) == (RunState.SUCCEEDED, expected.rstrip("."))
    assert (await read(store)).failure == over.failure


async def test_a_run_is_looked_at_in_its_providers_pace(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Magnific asks for two or three seconds at first, then three to five."""
    times: list[float] = []

    def answer(request: ApiRequest) -> Reply:
        """Note when it was asked."""
        times.append(get_instant(clock))
        return DONE if len(times) == 4 else build_look("running")

    await follow(store, live_runs, clock, answer)
    assert times == [2.5, 6.5, 10.5, 14.5]


ODD_BODIES: tuple[Any, ...] = (b"", b"<html>", b"{", [], {"data": None}, {"data": {"status": 7}})
FAILURES: list[Reply] = [
    *(build_breakage(breakage, Operation.READ_RUN) for breakage in Breakage),
    *(build_answer({"message": "no"}, status) for status in (301, 400, 401, 402, 403, 418, 429, 500, 502, 503, 504)),
    *(build_answer(body) for body in ODD_BODIES),
]


@pytest.mark.parametrize("failure", FAILURES, ids=[f"{n}-{type(reply).__name__}" for n, reply in enumerate(FAILURES)])
async def test_no_failure_of_a_look_ends_a_run(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, failure: Reply
) -> None:
    """Whatever a proxy, a key or a provider does for ten looks, the run is paid for and goes on."""
    over, account = await follow(store, live_runs, clock, in_turn(*[failure] * 10, DONE))
    assert (over.state, len(account.asked)) == (RunState.SUCCEEDED, 11)


async def test_failed_looks_are_told_and_taken_back(store: FaultyStore, live_runs: LiveRuns, clock: FakeClock) -> None:
    """Somebody who waits learns why nothing moves, and that it moves again."""
    told: list[str] = []
    lost = build_breakage(Breakage.NO_CONNECTION, Operation.READ_RUN)
    replies = in_turn(lost, build_look("running"), DONE)

    def answer(request: ApiRequest) -> Reply:
        """Note what the list of live runs says before each look."""
        entry = live_runs.get(RUN.id)
        assert entry is not None
        told.append(entry.problem)
        return replies(request)

    await follow(store, live_runs, clock, answer)
    assert told == ["", f"{lost.cause} Flowport looks again by itself.", ""]


async def test_failures_in_a_row_are_met_with_longer_pauses(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """A provider that is down must not be hammered by every run, nor forgotten for more than a minute."""
    times: list[float] = []
    down = build_answer(None, 500)

    def answer(request: ApiRequest) -> Reply:
        """Note when it was asked."""
        times.append(get_instant(clock))
        return down if len(times) < 7 else DONE

    await follow(store, live_runs, clock, answer)
    assert [after - before for before, after in itertools.pairwise(times)] == [2, 4, 8, 10, 10, 10]


async def test_a_run_that_the_provider_does_not_know_for_an_hour_has_failed(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """It may have been charged all the same."""
    over, _ = await follow(store, live_runs, clock, in_turn(last=GONE))
    assert (over.state, over.spent_credits) == (RunState.FAILED, 5.0)
    assert over.failure == "Magnific no longer knows this run, so Flowport cannot get its result."
    assert clock.now() - NOW >= LOST_AFTER_SECONDS


async def test_a_provider_that_knows_a_run_again_has_not_lost_it(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """A fresh run may not be readable yet, and a gateway that is down says of every run that it does not exist."""
    answer = in_turn(*[GONE] * 40, build_answer(None, 500), *[GONE] * 40, build_look("running"), *[GONE] * 40, DONE)
    over, _ = await follow(store, live_runs, clock, answer)
    assert over.state is RunState.SUCCEEDED


async def test_a_change_that_the_store_did_not_take_is_written_before_the_next(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """A file that is busy for a moment must not cost the record of a run that is paid for."""
    starting = replace(RUNNING, state=RunState.STARTING, provider_run_id="", started_at=None)
    await store.accept(starting)
    live_runs.put(RUNNING, noted_at=0.0)
    writer = PendingWrites(store, live_runs, clock)
    store.failing.add("Started")
    written = await writer.record(starting, Started("remote-1", RunState.RUNNING, NOW))
    assert (written.state, (await read(store)).state) == (RunState.RUNNING, RunState.STARTING)
    store.failing.clear()
    account = ScriptedAccount(in_turn(DONE), clock)
    await follow_on(store, live_runs, clock, account, writer=writer)

    kept = await read(store)
    assert (kept.state, kept.provider_run_id) == (RunState.SUCCEEDED, "remote-1")
    entry = live_runs.get(RUN.id)
    assert entry is not None
    assert not entry.is_unwritten


async def test_an_end_that_another_process_wrote_is_not_ours(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Two processes may look at one run; only one of them saves its outputs."""
    await store.accept(RUNNING)
    live_runs.put(RUNNING, noted_at=0.0)
    await store.claim(RUN.id, "p2", lease=RUNNING.lease)
    await store.record(RUN.id, Finished(RunState.SUCCEEDED, NOW, spent_credits=5.0), RUNNING.lease + 1)
    followed = await follow_on(store, live_runs, clock, ScriptedAccount(in_turn(DONE), clock))

    assert (followed.state, followed.process_id, followed.lease) == (RunState.SUCCEEDED, "p2", RUNNING.lease + 1)


async def test_the_states_on_the_way_are_written_down(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Queued and running are different things to somebody who asks from another process."""
    states: list[RunState] = []
    account = ScriptedAccount(
        in_turn(*(build_look(status) for status in ("pending", "pending", "running", "pending", "completed"))), clock
    )

    async def look() -> None:
        """Read the store while a look is under way."""
        states.append((await read(store)).state)

    account.before_answer = look
    await store.accept(RUNNING)
    live_runs.put(RUNNING, noted_at=0.0)
    await follow_on(store, live_runs, clock, account)
    assert states == [RunState.RUNNING, RunState.QUEUED, RunState.QUEUED, RunState.RUNNING, RunState.QUEUED]


async def test_a_status_that_nobody_documented_counts_as_running_and_is_logged_once(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A new word of the provider's must neither end runs nor fill the log."""
    queued = replace(RUNNING, state=RunState.QUEUED)
    with caplog.at_level(logging.INFO, "flowport.runs.poll"):
        over, _ = await follow(
            store, live_runs, clock, in_turn(*[build_look("warming_up")] * 3, build_look("completed")), queued
        )
    assert over.state is RunState.SUCCEEDED
    assert [record.getMessage() for record in caplog.records] == [
        "Magnific has called a run 'warming_up'; that counts as running"
    ]


async def test_a_status_that_nobody_documented_is_told_until_a_known_one_comes(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Whoever waits learns why nothing ends, with the word."""
    told: list[str] = []

    async def note() -> None:
        """Read the list of live runs while a look is under way."""
        entry = live_runs.get(RUNNING.id)
        told.append(entry.problem if entry else "")

    account = ScriptedAccount(
        in_turn(build_look("warming\u202e_up"), build_look("running"), build_look("completed")), clock
    )
    account.before_answer = note
    await store.accept(RUNNING)
    live_runs.put(RUNNING, noted_at=0.0)
    await follow_on(store, live_runs, clock, account)
    unknown = (
        'Magnific calls the state of this run "warming_up", a word that Flowport does not know. Flowport '
        "treats it as running until results or an end come."
    )
    assert told == [
        "",
        unknown,
        "",
    ]


async def test_an_unlisted_word_with_results_ends_a_run_and_keeps_them(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """They were paid for."""
    over, _ = await follow(store, live_runs, clock, in_turn(build_look("archived", images=2)))
    assert (over.state, len(over.outputs), over.failure) == (RunState.SUCCEEDED, 2, "")


async def test_a_look_that_cannot_be_written_down_is_shown_all_the_same(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """A full disk must not stop the looking."""
    store.failing.add("Polled")
    over, _ = await follow(store, live_runs, clock, in_turn(build_look("pending"), DONE))
    assert over.state is RunState.SUCCEEDED


async def test_an_end_that_cannot_be_written_down_stays_on_the_board(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The result is paid for; this process can still hand it out."""
    store.failing.add("Finished")
    over, _ = await follow(store, live_runs, clock, in_turn(build_look("completed", images=1)))
    live_runs.update(over)
    live_runs.remove(RUN.id)
    entry = live_runs.get(RUN.id)

    assert entry is not None
    assert (entry.run.state, entry.run.outputs) == (RunState.SUCCEEDED, (OUTPUT,))
    assert "run run_one (remote-1 at the provider) is succeeded, which is not recorded" in caplog.text


async def test_no_look_is_made_after_somebody_stopped_following(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """The person does not want to hear of it any more; the run stays as it was."""

    def answer(request: ApiRequest) -> Reply:
        """Stop following while the first look is under way."""
        live_runs.remove(RUN.id)
        return build_answer(None, 500)

    over, account = await follow(store, live_runs, clock, answer)
    assert (over, len(account.asked)) == (RUNNING, 1)


async def test_a_follower_leaves_a_run_to_the_one_that_took_it_up_again(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Stopped and begun again within one pause: two followers would ask twice as often and save every file twice."""

    def answer(request: ApiRequest) -> Reply:
        """Stop and begin again while the first look is under way."""
        live_runs.remove(RUN.id)
        live_runs.put(RUNNING, noted_at=1.0)
        return build_look("running")

    over, account = await follow(store, live_runs, clock, answer)
    assert (over, len(account.asked)) == (RUNNING, 1)


async def test_an_unfollowed_run_is_left_in_the_pause(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """The wish stands on the list of live runs even where the store could not take it."""
    account = ScriptedAccount(in_turn(), clock)
    live_runs.put(replace(RUNNING, is_followed=False), noted_at=0.0)
    assert await follow_on(store, live_runs, clock, account) == RUNNING


async def test_a_run_that_is_not_on_the_board_is_not_looked_at(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """It was let go of while its start was under way."""
    account = ScriptedAccount(in_turn(), clock)
    assert await follow_on(store, live_runs, clock, account) == RUNNING


async def test_a_laptop_that_slept_looks_once_and_goes_on(store: FaultyStore, live_runs: LiveRuns) -> None:
    """Hours may pass within one pause; the result is still fetched at the next look."""
    clock = FakeClock(is_automatic=False)
    await store.accept(RUNNING)
    live_runs.put(RUNNING, noted_at=0.0)
    account = ScriptedAccount(in_turn(DONE), clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow_on, store, live_runs, clock, account)
        await wait_until(lambda: clock.count_sleepers() == 1)
        clock.advance(8 * 3600)
    assert (await read(store)).finished_at == NOW + 8 * 3600


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_a_wall_clock_that_is_set_changes_no_duration(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, jump: float
) -> None:
    """A run of six seconds took six seconds, whatever day it is now."""
    replies = in_turn(build_look("running"), DONE)

    def answer(request: ApiRequest) -> Reply:
        """Set the clock while the look is under way."""
        clock.set_wall(jump)
        return replies(request)

    over, _ = await follow(store, live_runs, clock, answer)
    entry = live_runs.get(RUN.id)

    assert entry is not None
    assert (over.state, entry.over_after_seconds) == (RunState.SUCCEEDED, 6.5)


async def test_an_end_that_is_seen_while_somebody_stops_following_is_kept(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """The look was under way, and what it brought is paid for."""

    def answer(request: ApiRequest) -> Reply:
        """Stop following, and tell that the run is over."""
        live_runs.remove(RUN.id)
        return DONE

    over, _ = await follow(store, live_runs, clock, answer)
    assert over.state is RunState.SUCCEEDED
    assert (await read(store)).state is RunState.SUCCEEDED
