"""Exactly one start request for one intended run, whatever fails."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeAlias

import anyio
import pytest

from flowport.domain.errors import NEVER_CONNECTED, Breakage, Operation, ProviderBusy, ProviderUnreachable, StoreError
from flowport.domain.models import Account, App, Run, RunState, Urgency
from flowport.domain.run_events import Cancelled, StartRequested
from flowport.network.ratelimit.limiter import Priority
from flowport.network.ratelimit.record import SPAN_SECONDS
from flowport.providers.interface import ApiAnswer, ApiRequest
from flowport.runs.live import LiveRuns, PendingWrites
from flowport.runs.start import MAX_STARTS, MAY_HAVE_CHANGED, RunStarter, format_unknown
from tests.runs.samples import CALL, NOW, RUN, TAKEN, get_instant, read
from tests.support.fake_clock import FakeClock
from tests.support.scripted import (
    FaultyStore,
    Reply,
    ScriptedAccount,
    build_answer,
    build_breakage,
    in_turn,
    wait_until,
)

Row: TypeAlias = tuple[Reply, int, dict[str, object], str]
"""The response; then the requests sent, the run's state, and what the store keeps of the response."""

GARBAGE = "garbage \u0000 of a proxy"
NOT_TAKEN = (*range(300, 400), 400, 401, 402, 403, 404, 405, 413, 415, 422, 429)
UNDECIDED = (100, 200, 201, 202, 204, 299, 408, 409, 410, 418, 425, 428, 451, 499, *range(500, 505), 520, 599)

FAILED = {"state": RunState.FAILED, "reserved_credits": 0.0, "spent_credits": 0.0}
UNKNOWN = {"state": RunState.UNKNOWN, "reserved_credits": 0.0, "spent_credits": 5.0}
BUSY = build_answer({"message": "Too many requests"}, 429, retry_after="7")
NO_CONNECTION = build_breakage(Breakage.NO_CONNECTION)


async def start(
    store: FaultyStore, live_runs: LiveRuns, account: ScriptedAccount, clock: FakeClock, run: Run = RUN
) -> Run:
    """Accept a run and start it."""
    await store.accept(run)
    live_runs.put(run, noted_at=0.0)
    return await RunStarter(store, live_runs, clock, PendingWrites(store, live_runs, clock)).start(run, CALL, account)


@asynccontextmanager
async def _starting(
    store: FaultyStore, live_runs: LiveRuns, account: ScriptedAccount, clock: FakeClock
) -> AsyncIterator[list[Run]]:
    """Start the run in the background; the block begins when it first sleeps and ends with the start."""
    returned: list[Run] = []

    async def work() -> None:
        """Keep what the start returned."""
        returned.append(await start(store, live_runs, account, clock))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await wait_until(lambda: clock.count_sleepers() == 1)
        yield returned


def build_rows() -> list[object]:
    """Return every way in which a start request can end without a run id, with the expected outcome."""
    broken: list[Row] = [
        (build_breakage(breakage), *((3, FAILED, "") if breakage in NEVER_CONNECTED else (1, UNKNOWN, "")))
        for breakage in Breakage
        if breakage is not Breakage.UNUSABLE_SETTING
    ]
    broken.append((build_breakage(Breakage.UNUSABLE_SETTING), 1, FAILED, ""))
    refused: list[Row] = [
        (build_answer(GARBAGE.encode(), status), 4 if status == 429 else 1, FAILED, "") for status in NOT_TAKEN
    ]
    vague: list[Row] = [
        (build_answer(GARBAGE.encode(), status), 1, UNKNOWN, "garbage of a proxy") for status in UNDECIDED
    ]
    return [pytest.param(*row, id=_name(row[0])) for row in (*broken, *refused, *vague)]


def _name(reply: Reply) -> str:
    return reply.breakage.name if isinstance(reply, ProviderUnreachable) else str(getattr(reply, "status", ""))


@pytest.mark.parametrize(("reply", "sent", "view", "kept"), build_rows())
async def test_every_end_of_a_start_request_is_failed_or_unknown_and_never_paid_twice(
    *,
    store: FaultyStore,
    live_runs: LiveRuns,
    clock: FakeClock,
    reply: Reply,
    sent: int,
    view: dict[str, object],
    kept: str,
) -> None:
    """The promise itself: a start is sent again only when it is certain that the provider did not accept it."""
    account = ScriptedAccount(in_turn(last=reply), clock)
    returned = await start(store, live_runs, account, clock)
    kept_run = await read(store)

    assert account.count(Operation.START_RUN) == sent
    assert {name: getattr(kept_run, name) for name in view} == view
    assert kept_run.start_response == kept
    assert kept_run.failure.endswith((".", '"'))
    assert kept_run == replace(returned, starting_at=kept_run.starting_at)


async def test_an_accepted_run_is_running_with_its_id(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """The plain case, as the store has it afterwards."""
    account = ScriptedAccount(in_turn(TAKEN), clock)
    returned = await start(store, live_runs, account, clock)
    path = "/v1/ai/flows/aB3/run"
    expected = replace(
        RUN,
        state=RunState.RUNNING,
        provider_run_id="remote-1",
        starting_at=NOW,
        started_at=NOW,
        running_at=NOW,
        start_request=f"POST {path}",
    )

    assert (returned, await read(store)) == (expected, expected)
    assert account.asked == [ApiRequest(Operation.START_RUN, "POST", path, {"inputs": {"prompt": "a lake"}})]
    assert account.priorities == [Priority.START]


@pytest.mark.parametrize(
    ("urgency", "waiters", "priority"),
    [(Urgency.BATCH, 0, Priority.START_ROW), (Urgency.BATCH, 1, Priority.START), (Urgency.WAITED, 0, Priority.START)],
)
async def test_a_row_is_started_after_awaited_runs(
    *, store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, urgency: Urgency, waiters: int, priority: Priority
) -> None:
    """Two hundred rows must not make a user wait for minutes."""
    account = ScriptedAccount(in_turn(TAKEN), clock)
    live_runs.put(RUN, noted_at=0.0, urgency=urgency).waiters = waiters
    await start(store, live_runs, account, clock)
    assert account.priorities == [priority]


async def fill_slots(
    tasks: anyio.abc.TaskGroup, starter: RunStarter, live_runs: LiveRuns, account: ScriptedAccount
) -> None:
    """Let as many rows as there are slots wait for the account's rate limit."""
    for n in range(MAX_STARTS):
        row = replace(RUN, id=f"row_{n}")
        live_runs.put(row, noted_at=0.0, urgency=Urgency.BATCH)
        tasks.start_soon(starter.start, row, CALL, account)
    await wait_until(lambda: len(account.priorities) == MAX_STARTS)


async def test_rows_that_wait_for_the_rate_limit_do_not_block_an_awaited_start(
    store: FaultyStore, live_runs: LiveRuns
) -> None:
    """As many rows as there are slots are queued; the user's start is not behind them."""
    clock = FakeClock(is_automatic=False)
    account = ScriptedAccount(in_turn(TAKEN), clock, limit=1)
    await account.limiter.take(Priority.START)
    starter = RunStarter(store, live_runs, clock, PendingWrites(store, live_runs, clock))
    async with anyio.create_task_group() as tasks:
        await fill_slots(tasks, starter, live_runs, account)
        await store.accept(RUN)
        live_runs.put(RUN, noted_at=0.0)
        tasks.start_soon(starter.start, RUN, CALL, account)
        await wait_until(lambda: account.priorities[-1] is Priority.START)
        clock.advance(SPAN_SECONDS)
        await wait_until(lambda: account.asked != [])
        tasks.cancel_scope.cancel()
    assert (await read(store)).state is not RunState.ACCEPTED


async def test_rows_of_one_provider_do_not_wait_for_another_one(store: FaultyStore, live_runs: LiveRuns) -> None:
    """Two batches in one process are as fast as each alone."""
    clock = FakeClock(is_automatic=False)
    slow, other = (ScriptedAccount(in_turn(TAKEN), clock, limit=1) for _ in range(2))
    other.account = Account("another", "api.example", "key")
    await slow.limiter.take(Priority.START)
    starter = RunStarter(store, live_runs, clock, PendingWrites(store, live_runs, clock))
    async with anyio.create_task_group() as tasks:
        await fill_slots(tasks, starter, live_runs, slow)
        await store.accept(RUN)
        live_runs.put(RUN, noted_at=0.0, urgency=Urgency.BATCH)
        tasks.start_soon(starter.start, RUN, CALL, other)
        await wait_until(lambda: other.asked != [])
        tasks.cancel_scope.cancel()
    assert slow.asked == []


async def test_starting_is_on_disk_before_the_request_leaves(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """After a crash during the request, the store must show that it may have arrived."""
    found: list[tuple[RunState, float | None]] = []

    async def look() -> None:
        """Read the store during the request."""
        run = await read(store)
        found.append((run.state, run.starting_at))

    account = ScriptedAccount(in_turn(TAKEN), clock)
    account.before_answer = look
    await start(store, live_runs, account, clock)
    assert found == [(RunState.STARTING, NOW)]


async def test_the_provider_id_is_on_disk_before_it_is_shown(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """A running run must not be shown that a crash would lose."""
    account = ScriptedAccount(in_turn(TAKEN), clock)
    returned = await start(store, live_runs, account, clock)
    entry = live_runs.get(RUN.id)

    assert entry is not None
    assert entry.run.state is RunState.STARTING
    assert (await read(store)).provider_run_id == returned.provider_run_id == "remote-1"


@pytest.mark.parametrize(
    ("replies", "delays"),
    [((NO_CONNECTION, NO_CONNECTION, TAKEN), 2.0), ((BUSY, TAKEN), 7.0), ((build_answer(None, 429), TAKEN), 15.0)],
    ids=["not-connected", "busy", "busy-without-delay"],
)
async def test_a_start_that_was_certainly_not_accepted_is_retried_after_its_delay(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, replies: tuple[Reply, ...], delays: float
) -> None:
    """A busy minute or a network loss of a second must not cost the user a call."""
    account = ScriptedAccount(in_turn(*replies), clock)
    returned = await start(store, live_runs, account, clock)
    assert (returned.state, get_instant(clock)) == (RunState.RUNNING, delays)


async def test_connection_failures_and_refusals_are_counted_separately(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Three refusals and two lost connections are each within their own limit."""
    account = ScriptedAccount(in_turn(NO_CONNECTION, BUSY, NO_CONNECTION, BUSY, BUSY, TAKEN), clock)
    returned = await start(store, live_runs, account, clock)
    assert (returned.state, len(account.asked)) == (RunState.RUNNING, 6)


async def test_an_ambiguous_response_ends_the_retries(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """The refusal of an earlier request says nothing about this one."""
    account = ScriptedAccount(in_turn(BUSY, build_breakage(Breakage.NO_ANSWER)), clock)
    returned = await start(store, live_runs, account, clock)
    assert (returned.state, len(account.asked)) == (RunState.UNKNOWN, 2)


async def test_a_refused_run_waits_as_accepted_on_disk_and_in_memory(store: FaultyStore, live_runs: LiveRuns) -> None:
    """A crash during the wait must not turn a run that was certainly not accepted into an unknown one."""
    clock = FakeClock(is_automatic=False)
    account = ScriptedAccount(in_turn(BUSY, TAKEN), clock)
    entry = live_runs.put(RUN, noted_at=0.0)
    async with _starting(store, live_runs, account, clock):
        assert await read(store) == RUN
        assert (entry.run, entry.problem) == (
            RUN,
            (
                f"{ProviderBusy('Magnific', Operation.START_RUN, 429).cause} "
                "Nothing was started; Flowport tries again by itself in 7 s."
            ),
        )
        clock.advance(7)
    assert (await read(store)).state is RunState.RUNNING


async def test_a_run_cancelled_during_the_wait_is_not_sent_again(store: FaultyStore, live_runs: LiveRuns) -> None:
    """The user cancelled it; nothing may be charged."""
    clock = FakeClock(is_automatic=False)
    account = ScriptedAccount(in_turn(BUSY), clock)
    async with _starting(store, live_runs, account, clock) as returned:
        await store.record(RUN.id, Cancelled("Cancelled.", NOW))
        clock.advance(7)
    expected = replace(RUN, state=RunState.CANCELLED, failure="Cancelled.", finished_at=NOW, reserved_credits=0.0)
    assert (returned, len(account.asked)) == ([expected], 1)


async def test_a_run_that_another_process_starts_is_not_started_here(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Of two processes that request the same change the store admits one."""
    await store.accept(RUN)
    await store.record(RUN.id, StartRequested(NOW))
    account = ScriptedAccount(in_turn(), clock)
    returned = await RunStarter(store, live_runs, clock, PendingWrites(store, live_runs, clock)).start(
        RUN, CALL, account
    )
    assert (returned.state, account.asked) == (RunState.STARTING, [])


async def test_nothing_is_sent_when_starting_cannot_be_recorded(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Without the record a crash would let the run be paid twice."""
    account = ScriptedAccount(in_turn(), clock)
    store.failing.add("StartRequested")
    with pytest.raises(StoreError):
        await start(store, live_runs, account, clock)
    assert (account.asked, await read(store)) == ([], RUN)


@pytest.mark.parametrize("reply", [BUSY, NO_CONNECTION], ids=["busy", "no connection"])
async def test_a_start_that_cannot_be_reverted_on_disk_is_not_sent_again(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, reply: ApiAnswer | ProviderUnreachable
) -> None:
    """Only a run that is accepted on disk may be sent, whatever is in memory."""
    account = ScriptedAccount(in_turn(reply), clock)
    store.failing.add("StartNotTaken")
    returned = await start(store, live_runs, account, clock)
    kept = await read(store)
    assert (returned.state, kept.state, kept.reserved_credits, len(account.asked)) == (
        RunState.FAILED,
        RunState.FAILED,
        0.0,
        1,
    )


async def test_an_abandoned_run_is_not_sent_after_a_refusal(store: FaultyStore, live_runs: LiveRuns) -> None:
    """While it was starting it could not be cancelled; after a refusal it costs nothing to stop it."""
    clock = FakeClock(is_automatic=False)
    account = ScriptedAccount(in_turn(BUSY), clock)
    async with _starting(store, live_runs, account, clock):
        live_runs.remove(RUN.id)
        clock.advance(7)
    assert ((await read(store)).state, len(account.asked)) == (RunState.CANCELLED, 1)


@pytest.mark.parametrize(
    ("reply", "operation", "state"),
    [
        (TAKEN, "StartAcknowledged", RunState.RUNNING),
        (build_answer(None, 500), "StartUnknown", RunState.UNKNOWN),
        (build_answer(None, 422), "Finished", RunState.FAILED),
    ],
)
async def test_an_unrecorded_outcome_stays_in_memory_and_in_the_log(
    *,
    store: FaultyStore,
    live_runs: LiveRuns,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    reply: ApiAnswer | ProviderUnreachable,
    operation: str,
    state: RunState,
) -> None:
    """The credits may be spent, so the known facts must survive a full disk, and nothing is sent again."""
    account = ScriptedAccount(in_turn(reply), clock)
    store.failing.add(operation)
    with caplog.at_level(logging.ERROR):
        returned = await start(store, live_runs, account, clock)
    live_runs.update(returned)
    live_runs.remove(RUN.id)
    entry = live_runs.get(RUN.id)

    assert entry is not None
    assert (entry.run, returned.state, len(account.asked)) == (returned, state, 1)
    assert (returned.provider_run_id or "without an id") in caplog.text


async def test_a_long_ambiguous_response_is_stored_in_part(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """A user needs the beginning of an error page, and the store must not hold megabytes."""
    account = ScriptedAccount(in_turn(build_answer(b"<html>" + b"x" * 1_000_000, 502)), clock)
    await start(store, live_runs, account, clock)
    answer = (await read(store)).start_response
    assert (answer[:7], len(answer)) == ("<html>x", 2000)


async def test_an_unknown_run_without_a_price_counts_as_zero(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Nothing was reserved, so nothing is counted as spent; the message says that it may have been charged."""
    run = replace(RUN, price_credits=None, reserved_credits=0.0)
    returned = await start(store, live_runs, ScriptedAccount(in_turn(build_answer(None, 500)), clock), clock, run)
    assert (returned.state, returned.spent_credits) == (RunState.UNKNOWN, 0.0)
    assert returned.failure == (
        "Magnific may or may not have started this run: it answered HTTP 500. It may have been charged, so Flowport "
        "does not send it again by itself. Magnific's website shows whether it is there."
    )


@pytest.mark.parametrize(("status", "stale"), [(422, [CALL.app]), (400, []), (500, [])])
async def test_only_a_refusal_of_the_inputs_marks_the_definition_as_stale(
    *, store: FaultyStore, live_runs: LiveRuns, clock: FakeClock, status: int, stale: list[App]
) -> None:
    """The inputs passed our own check, so the cached definition may be out of date."""
    found: list[App] = []
    account = ScriptedAccount(in_turn(build_answer(None, status)), clock)
    await store.accept(RUN)
    live_runs.put(RUN, noted_at=0.0)
    writer = PendingWrites(store, live_runs, clock)
    starter = RunStarter(store, live_runs, clock, writer, on_mismatch=lambda _, app: found.append(app))

    failed = await starter.start(RUN, CALL, account)

    assert found == stale
    assert (MAY_HAVE_CHANGED in failed.failure) == bool(stale)


def test_an_unknown_start_in_the_built_in_sandbox_names_no_website() -> None:
    """It has no website, and charges no money."""
    error = ProviderUnreachable("The sandbox", Operation.START_RUN, Breakage.BROKEN_OFF)
    sentence = format_unknown(error, is_sandbox=True)
    assert ("website" in sentence, "charged" in sentence, "new_run: true" in sentence) == (False, False, True)
    assert "website" in format_unknown(error)
