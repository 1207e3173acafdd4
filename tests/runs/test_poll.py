"""Polling a run until it is over: it is paid for, so no failed poll abandons it."""

import itertools
import logging
from dataclasses import replace
from typing import Any

import anyio
import pytest

from flowport.domain.errors import Breakage, Operation
from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.domain.run_events import Finished, StartAcknowledged
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import ApiRequest
from flowport.runs.live import LiveRuns, PendingWrites
from flowport.runs.poll import RunPoller
from flowport.runs.steps import LOST_AFTER_SECONDS, Pace
from flowport.runtime.background import Supervisor
from tests.runs.samples import NOW, RUN, build_status, get_instant, read
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
DONE = build_status("completed")
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
    """Start a run at the provider and poll it; return it with its account."""
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
    """Poll a run with another poller."""
    async with Supervisor() as supervisor:
        poller = RunPoller(
            store, live_runs, clock, Pace(), writer or PendingWrites(store, live_runs, clock), supervisor=supervisor
        )
        return await poller.poll(run, account)


@pytest.mark.parametrize(
    ("look", "changes"),
    [
        (build_status("completed", images=1), {"state": RunState.SUCCEEDED, "outputs": (OUTPUT,)}),
        (
            DONE,
            {
                "state": RunState.SUCCEEDED,
                "failure": "The app finished, but Magnific handed over no result that Flowport can read.",
            },
        ),
        (
            build_status("completed_with_errors", images=1, message="Node 'b' failed"),
            {
                "state": RunState.PARTIAL,
                "outputs": (OUTPUT,),
                "failure": "Some steps of the app failed; what it made is here. Magnific says: \"Node 'b' failed\"",
            },
        ),
        (
            build_status("completed_with_errors", message="Node 'b' failed"),
            {"state": RunState.FAILED, "failure": "The app failed. Magnific says: \"Node 'b' failed\""},
        ),
        (
            build_status("failed"),
            {"state": RunState.FAILED, "failure": "The app failed. Magnific does not say why."},
        ),
        (build_status("cancelled"), {"state": RunState.CANCELLED, "failure": "The run was cancelled at the provider."}),
        (
            build_status("cancelled", message="by its owner"),
            {
                "state": RunState.CANCELLED,
                "failure": 'The run was cancelled at the provider. Magnific says: "by its owner"',
            },
        ),
    ],
)
async def test_each_end_is_recorded_completely(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, look: Reply, changes: dict[str, Any]
) -> None:
    """The outputs, the reason and the cost: a restart must know all of it."""
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
async def test_unreadable_results_are_counted_and_kept(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, images: list[object], expected: str
) -> None:
    """They were paid for, and a user needs the provider's text for its support; secrets are removed."""
    body = {"data": {"run_id": "remote-1", "status": "completed", "result": {"images": images}}}
    over, _ = await follow(store, live_runs, clock, in_turn(build_answer(body)))
    assert (over.state, over.failure.rstrip(".")) == (RunState.SUCCEEDED, expected.rstrip("."))
    assert (await read(store)).failure == over.failure


async def test_a_run_is_polled_at_its_providers_pace(store: FaultyStore, live_runs: LiveRuns, clock: FakeClock) -> None:
    """Magnific documents two or three seconds at first, then three to five."""
    times: list[float] = []

    def answer(request: ApiRequest) -> Reply:
        """Record when it was polled."""
        times.append(get_instant(clock))
        return DONE if len(times) == 4 else build_status("running")

    await follow(store, live_runs, clock, answer)
    assert times == [2.5, 6.5, 10.5, 14.5]


ODD_BODIES: tuple[Any, ...] = (b"", b"<html>", b"{", [], {"data": None}, {"data": {"status": 7}})
FAILURES: list[Reply] = [
    *(build_breakage(breakage, Operation.READ_RUN) for breakage in Breakage),
    *(build_answer({"message": "no"}, status) for status in (301, 400, 401, 402, 403, 418, 429, 500, 502, 503, 504)),
    *(build_answer(body) for body in ODD_BODIES),
]


@pytest.mark.parametrize("failure", FAILURES, ids=[f"{n}-{type(reply).__name__}" for n, reply in enumerate(FAILURES)])
async def test_no_failed_poll_ends_a_run(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, failure: Reply
) -> None:
    """Whatever a proxy, a key or a provider does for ten polls, the run is paid for and continues."""
    over, account = await follow(store, live_runs, clock, in_turn(*[failure] * 10, DONE))
    assert (over.state, len(account.asked)) == (RunState.SUCCEEDED, 11)


async def test_failed_polls_are_reported_and_cleared(store: FaultyStore, live_runs: LiveRuns, clock: FakeClock) -> None:
    """A waiting caller learns why nothing happens, and that it continues."""
    problems: list[str] = []
    lost = build_breakage(Breakage.NO_CONNECTION, Operation.READ_RUN)
    replies = in_turn(lost, build_status("running"), DONE)

    def answer(request: ApiRequest) -> Reply:
        """Record the message of the list of live runs before each poll."""
        entry = live_runs.get(RUN.id)
        assert entry is not None
        problems.append(entry.problem)
        return replies(request)

    await follow(store, live_runs, clock, answer)
    assert problems == ["", f"{lost.cause} Flowport looks again by itself.", ""]


async def test_repeated_failures_lengthen_the_delays(store: FaultyStore, live_runs: LiveRuns, clock: FakeClock) -> None:
    """A provider that is down must neither be overloaded by every run nor be ignored for more than a minute."""
    times: list[float] = []
    down = build_answer(None, 500)

    def answer(request: ApiRequest) -> Reply:
        """Record when it was polled."""
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


async def test_a_run_that_the_provider_finds_again_is_not_lost(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """A new run may not be readable yet, and a faulty gateway reports every run as missing."""
    answer = in_turn(*[GONE] * 40, build_answer(None, 500), *[GONE] * 40, build_status("running"), *[GONE] * 40, DONE)
    over, _ = await follow(store, live_runs, clock, answer)
    assert over.state is RunState.SUCCEEDED


async def test_an_unwritten_change_is_written_before_the_next(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """A briefly busy file must not cost the record of a paid run."""
    starting = replace(RUNNING, state=RunState.STARTING, provider_run_id="", started_at=None)
    await store.accept(starting)
    live_runs.put(RUNNING, noted_at=0.0)
    writer = PendingWrites(store, live_runs, clock)
    store.failing.add("StartAcknowledged")
    written = await writer.record(starting, StartAcknowledged("remote-1", RunState.RUNNING, NOW))
    assert (written.state, (await read(store)).state) == (RunState.RUNNING, RunState.STARTING)
    store.failing.clear()
    account = ScriptedAccount(in_turn(DONE), clock)
    await follow_on(store, live_runs, clock, account, writer=writer)

    kept = await read(store)
    assert (kept.state, kept.provider_run_id) == (RunState.SUCCEEDED, "remote-1")
    entry = live_runs.get(RUN.id)
    assert entry is not None
    assert not entry.is_unwritten


async def test_an_end_recorded_by_another_process_is_not_handled_here(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Two processes may poll one run; only one of them saves its outputs."""
    await store.accept(RUNNING)
    live_runs.put(RUNNING, noted_at=0.0)
    await store.claim(RUN.id, "p2", lease=RUNNING.lease)
    await store.record(RUN.id, Finished(RunState.SUCCEEDED, NOW, spent_credits=5.0), RUNNING.lease + 1)
    followed = await follow_on(store, live_runs, clock, ScriptedAccount(in_turn(DONE), clock))

    assert (followed.state, followed.process_id, followed.lease) == (RunState.SUCCEEDED, "p2", RUNNING.lease + 1)


async def test_intermediate_states_are_recorded(store: FaultyStore, live_runs: LiveRuns, clock: FakeClock) -> None:
    """Queued and running mean different waits to a caller in another process."""
    states: list[RunState] = []
    account = ScriptedAccount(
        in_turn(*(build_status(status) for status in ("pending", "pending", "running", "pending", "completed"))), clock
    )

    async def look() -> None:
        """Read the store during a poll."""
        states.append((await read(store)).state)

    account.before_answer = look
    await store.accept(RUNNING)
    live_runs.put(RUNNING, noted_at=0.0)
    await follow_on(store, live_runs, clock, account)
    assert states == [RunState.RUNNING, RunState.QUEUED, RunState.QUEUED, RunState.RUNNING, RunState.QUEUED]


async def test_an_undocumented_status_counts_as_running_and_is_logged_once(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A new status of the provider must neither end runs nor fill the log."""
    queued = replace(RUNNING, state=RunState.QUEUED)
    with caplog.at_level(logging.INFO, "flowport.runs.poll"):
        over, _ = await follow(
            store, live_runs, clock, in_turn(*[build_status("warming_up")] * 3, build_status("completed")), queued
        )
    assert over.state is RunState.SUCCEEDED
    assert [record.getMessage() for record in caplog.records] == [
        "Magnific has called a run 'warming_up'; that counts as running"
    ]


async def test_an_undocumented_status_is_reported_until_a_known_one_comes(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """The message names the status, so that a waiting caller learns why the run does not end."""
    problems: list[str] = []

    async def note() -> None:
        """Read the list of live runs during a poll."""
        entry = live_runs.get(RUNNING.id)
        problems.append(entry.problem if entry else "")

    account = ScriptedAccount(
        in_turn(build_status("warming\u202e_up"), build_status("running"), build_status("completed")), clock
    )
    account.before_answer = note
    await store.accept(RUNNING)
    live_runs.put(RUNNING, noted_at=0.0)
    await follow_on(store, live_runs, clock, account)
    unknown = (
        'Magnific calls the state of this run "warming_up", a word that Flowport does not know. Flowport '
        "treats it as running until results or an end come."
    )
    assert problems == [
        "",
        unknown,
        "",
    ]


async def test_an_undocumented_status_with_results_ends_a_run_and_keeps_them(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """They were paid for."""
    over, _ = await follow(store, live_runs, clock, in_turn(build_status("archived", images=2)))
    assert (over.state, len(over.outputs), over.failure) == (RunState.SUCCEEDED, 2, "")


async def test_an_unrecorded_poll_is_shown(store: FaultyStore, live_runs: LiveRuns, clock: FakeClock) -> None:
    """A full disk must not stop the polling."""
    store.failing.add("Polled")
    over, _ = await follow(store, live_runs, clock, in_turn(build_status("pending"), DONE))
    assert over.state is RunState.SUCCEEDED


async def test_an_unrecorded_end_stays_in_the_list_of_live_runs(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The result is paid for, and this process can still return it."""
    store.failing.add("Finished")
    over, _ = await follow(store, live_runs, clock, in_turn(build_status("completed", images=1)))
    live_runs.update(over)
    live_runs.remove(RUN.id)
    entry = live_runs.get(RUN.id)

    assert entry is not None
    assert (entry.run.state, entry.run.outputs) == (RunState.SUCCEEDED, (OUTPUT,))
    assert "run run_one (remote-1 at the provider) is succeeded, which is not recorded" in caplog.text


async def test_no_poll_is_made_after_polling_was_stopped(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """The user wants no further updates; the run keeps its state."""

    def answer(request: ApiRequest) -> Reply:
        """Stop polling during the first poll."""
        live_runs.remove(RUN.id)
        return build_answer(None, 500)

    over, account = await follow(store, live_runs, clock, answer)
    assert (over, len(account.asked)) == (RUNNING, 1)


async def test_a_poller_leaves_a_run_to_the_one_that_resumed_it(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Stopped and resumed within one delay: two pollers would poll twice as often and save every file twice."""

    def answer(request: ApiRequest) -> Reply:
        """Stop and resume during the first poll."""
        live_runs.remove(RUN.id)
        live_runs.put(RUNNING, noted_at=1.0)
        return build_status("running")

    over, account = await follow(store, live_runs, clock, answer)
    assert (over, len(account.asked)) == (RUNNING, 1)


async def test_stopping_takes_effect_during_the_delay(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """The list of live runs has the request even where the store could not record it."""
    account = ScriptedAccount(in_turn(), clock)
    live_runs.put(replace(RUNNING, is_followed=False), noted_at=0.0)
    assert await follow_on(store, live_runs, clock, account) == RUNNING


async def test_a_run_that_is_not_live_is_not_polled(store: FaultyStore, live_runs: LiveRuns, clock: FakeClock) -> None:
    """It was removed while its start was in flight."""
    account = ScriptedAccount(in_turn(), clock)
    assert await follow_on(store, live_runs, clock, account) == RUNNING


async def test_a_laptop_polls_once_after_sleep_and_continues(store: FaultyStore, live_runs: LiveRuns) -> None:
    """Hours may pass within one delay; the next poll still fetches the result."""
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
async def test_setting_the_wall_clock_changes_no_duration(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, jump: float
) -> None:
    """A run of six seconds took six seconds, whatever day it is now."""
    replies = in_turn(build_status("running"), DONE)

    def answer(request: ApiRequest) -> Reply:
        """Set the clock during the poll."""
        clock.set_wall(jump)
        return replies(request)

    over, _ = await follow(store, live_runs, clock, answer)
    entry = live_runs.get(RUN.id)

    assert entry is not None
    assert (over.state, entry.over_after_seconds) == (RunState.SUCCEEDED, 6.5)


async def test_an_end_received_while_polling_is_stopped_is_kept(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """The poll was in flight, and its result is paid for."""

    def answer(request: ApiRequest) -> Reply:
        """Stop polling, and answer that the run is over."""
        live_runs.remove(RUN.id)
        return DONE

    over, _ = await follow(store, live_runs, clock, answer)
    assert over.state is RunState.SUCCEEDED
    assert (await read(store)).state is RunState.SUCCEEDED
