"""What a run waits for before anything is sent, and what it does not wait for."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from flowport.catalog.listing import Listing
from flowport.domain.errors import Breakage, DayUsedUp, Operation, ProviderRefused
from flowport.domain.models import Run, RunState
from flowport.domain.run_events import Cancelled
from flowport.network.ratelimit.limiter import Priority
from flowport.runs.live import LiveRuns, PendingWrites
from flowport.runs.start import RunStarter
from flowport.runs.submit import RunRequest
from tests.runs.benches import Bench, OneApp, open_bench
from tests.runs.samples import APP, CALL, NOW, PROMPT, RUN, TAKEN, build_status, get_instant, read
from tests.support.fake_clock import FakeClock
from tests.support.scripted import ACCOUNT, FaultyStore, ScriptedAccount, build_breakage, in_turn, wait_until

LISTING = Listing(replace(APP, inputs=(PROMPT,)), "sketch", {"in-1": "prompt"})
USED_UP = DayUsedUp("Magnific", Operation.DESCRIBE_APP, 36_000.0)
NO_CONNECTION = build_breakage(Breakage.NO_CONNECTION)
LOST = build_breakage(Breakage.NO_CONNECTION, Operation.DESCRIBE_APP)


async def start(
    store: FaultyStore, live_runs: LiveRuns, account: ScriptedAccount, clock: FakeClock, run: Run = RUN
) -> Run:
    """Accept a run and start it."""
    await store.accept(run)
    live_runs.put(run, noted_at=0.0)
    return await RunStarter(store, live_runs, clock, PendingWrites(store, live_runs, clock)).start(run, CALL, account)


class ExhaustedAccount(ScriptedAccount):
    """An account whose daily quota resets at some time of the clock."""

    def __init__(self, clock: FakeClock, resumes_at: float) -> None:
        super().__init__(in_turn(TAKEN), clock)
        self.problem: Exception | None = None
        self._clock, self._resumes_at = clock, resumes_at

    async def wait_for_turn(self, priority: Priority, operation: Operation = Operation.START_RUN) -> None:
        """Refuse until the quota resets."""
        left = self._resumes_at - get_instant(self._clock)
        if left > 0:
            raise self.problem or DayUsedUp("Magnific", operation, left)
        await super().wait_for_turn(priority, operation)


async def test_a_row_waits_for_the_next_day(store: FaultyStore, live_runs: LiveRuns, clock: FakeClock) -> None:
    """A table submitted in the evening must not fail permanently shortly before midnight."""
    account, row = ExhaustedAccount(clock, 36_000.0), replace(RUN, batch_id="batch_1")
    started = await start(store, live_runs, account, clock, row)
    assert (started.state, get_instant(clock), len(account.asked)) == (RunState.RUNNING, 36_000.0, 1)


async def test_a_row_survives_a_network_outage_of_minutes(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Hundreds of rows must not fail one after the other while a router restarts; each asks less and less often."""
    account = ScriptedAccount(in_turn(*[NO_CONNECTION] * 12, TAKEN), clock)
    started = await start(store, live_runs, account, clock, replace(RUN, batch_id="batch_1"))
    assert (started.state, get_instant(clock), len(account.asked)) == (RunState.RUNNING, 31.0 + 7 * 30.0, 13)


async def test_a_row_does_not_wait_for_an_unreachable_provider(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """The URL may be wrong; after ten minutes the row has failed, at no cost."""
    account = ScriptedAccount(in_turn(last=NO_CONNECTION), clock)
    failed = await start(store, live_runs, account, clock, replace(RUN, batch_id="batch_1"))
    assert (failed.state, get_instant(clock), failed.spent_credits) == (RunState.FAILED, 31.0 + 18 * 30.0, 0.0)


async def test_a_single_run_does_not_wait_for_the_next_day(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """Its caller waits for it and gets the reason."""
    with pytest.raises(DayUsedUp):
        await start(store, live_runs, ExhaustedAccount(clock, 36_000.0), clock)
    assert get_instant(clock) == 0.0


async def test_a_row_that_waits_for_the_next_day_can_be_cancelled(store: FaultyStore, live_runs: LiveRuns) -> None:
    """It is cancelled at once, and nothing is sent later."""
    clock = FakeClock(is_automatic=False)
    account, row = ExhaustedAccount(clock, 36_000.0), replace(RUN, batch_id="batch_1")
    returned: list[Run] = []

    async def work() -> None:
        """Keep what the start returned."""
        returned.append(await start(store, live_runs, account, clock, row))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await wait_until(lambda: clock.count_sleepers() == 1)
        entry = live_runs.get(row.id)
        assert entry is not None
        assert (
            "Requests are allowed again in about 10 h. Nothing was sent; Flowport goes on by itself." in entry.problem
        )
        await store.record(row.id, Cancelled("Enough.", NOW))
        live_runs.update(await read(store))
    assert (returned[0].state, account.asked) == (RunState.CANCELLED, [])
    # No work is left for it.
    starter = RunStarter(store, live_runs, clock, PendingWrites(store, live_runs, clock))
    assert (await starter.start(row, CALL, account)).state is RunState.CANCELLED


async def test_a_row_that_is_cancelled_before_the_refusal_comes_does_not_wait(
    store: FaultyStore, live_runs: LiveRuns, clock: FakeClock
) -> None:
    """It is not shown as live either."""
    row = replace(RUN, batch_id="batch_1")
    entry = live_runs.put(row, noted_at=0.0)

    async def refuse() -> None:
        """Refuse a run that was just cancelled."""
        live_runs.update(replace(row, state=RunState.CANCELLED))
        raise USED_UP

    await RunStarter(store, live_runs, clock, PendingWrites(store, live_runs, clock))._outwait_day(row, refuse)
    assert (entry.run.state, entry.problem, get_instant(clock)) == (RunState.CANCELLED, "", 0.0)


async def test_a_refusal_of_the_account_is_recorded(store: FaultyStore, live_runs: LiveRuns, clock: FakeClock) -> None:
    """Before the start as well, while its files are sent."""
    account = ExhaustedAccount(clock, 36_000.0)
    account.problem = ProviderRefused("Magnific", Operation.REQUEST_UPLOAD, 401)
    with pytest.raises(ProviderRefused):
        await start(store, live_runs, account, clock)
    entry = live_runs.get(RUN.id)
    assert entry is not None
    assert entry.refusal.startswith("Magnific does not accept the API key.")


async def take_over_row(bench: Bench, folder: Path, *found: Listing | Exception) -> Run:
    """Let a bench claim a row that its process left unsent, with a catalogue that returns this; return it."""
    call = await bench.preparer.prepare(bench.account, LISTING, {"prompt": "a lake"}, RunRequest("local"))
    bench.catalogs[ACCOUNT.id] = OneApp(bench.store, bench.clock, folder, *found)
    row = replace(RUN, reported_at=NOW, batch_id="batch_1", canonical_digest=call.canonical_digest)
    await bench.store.accept(row)
    await bench.recovery.take_over(row)
    return row


async def test_a_row_whose_app_must_be_read_also_waits_for_the_next_day(store: FaultyStore, tmp_path: Path) -> None:
    """Its inputs have not changed; only the definition cannot be read now."""
    async with open_bench(store, tmp_path, in_turn(TAKEN, build_status("completed"))) as bench:
        row = await take_over_row(bench, tmp_path, USED_UP, LISTING)
        over = await bench.finish(row)
        asked = [request.operation for request in bench.account.asked]
    assert (over.state, over.starting_at) == (RunState.SUCCEEDED, NOW + 36_000.0)
    assert asked.count(Operation.START_RUN) == 1


@pytest.mark.parametrize("found", [[USED_UP], [LOST] * 99], ids=["day", "network"])
async def test_a_row_whose_app_cannot_be_read_can_be_cancelled(
    store: FaultyStore, tmp_path: Path, found: list[Exception]
) -> None:
    """It is cancelled at once, and its definition is not read."""
    async with open_bench(store, tmp_path, in_turn(), is_automatic=False) as bench:
        row = await take_over_row(bench, tmp_path, *found)
        await bench.reach_pause(row, RunState.ACCEPTED)
        await store.record(row.id, Cancelled("Enough.", NOW))
        bench.live_runs.update(await read(store))
        over = await bench.finish(row)
        assert bench.clock.count_sleepers() == 0
    assert (over.state, over.failure) == (RunState.CANCELLED, "Enough.")


async def test_a_row_whose_app_is_refused_fails_with_the_reason(store: FaultyStore, tmp_path: Path) -> None:
    """Its batch is stopped by the refusal of the account."""
    async with open_bench(store, tmp_path, in_turn()) as bench:
        entry = bench.live_runs.put(replace(RUN, id="batch_1", row_count=1), noted_at=0.0)
        row = await take_over_row(bench, tmp_path, ProviderRefused("Magnific", Operation.DESCRIBE_APP, 401))
        over = await bench.finish(row)
    assert (over.state, over.reserved_credits) == (RunState.FAILED, 0.0)
    assert over.failure.startswith("Magnific does not accept the API key.")
    assert entry.refusal == over.failure
