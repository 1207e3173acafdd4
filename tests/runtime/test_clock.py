"""The machine's clock, and the one that stands in for it in every other test."""

import asyncio
import time
from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest

from flowport.domain.models import BootTime
from flowport.runtime.clock import Clock, SystemClock
from tests.support.fake_clock import MAX_JUMPS, FakeClock, wait_until_blocked
from tests.support.shifted_clock import ShiftedClock


async def note(clock: Clock, seconds: float, woken: list[tuple[float, float]]) -> None:
    """Sleep and note for how long it was meant and when it ended."""
    await clock.sleep(seconds)
    woken.append((seconds, clock.monotonic()))


@pytest.fixture
def manual() -> FakeClock:
    """A clock that moves by hand."""
    return FakeClock(is_automatic=False)


async def test_the_system_clock_returns_epoch_seconds_and_never_goes_back() -> None:
    """Stored instants must mean the same to the next process."""
    clock = SystemClock()
    earlier = clock.monotonic()
    await clock.sleep(-1)
    assert clock.now() > 1_700_000_000
    assert clock.monotonic() >= earlier


def test_a_wrong_wall_clock_can_be_rehearsed() -> None:
    """People set clocks, and batteries run empty; durations must not notice."""
    right, wrong = SystemClock(), ShiftedClock(shift_seconds=-86_400.0)

    assert right.now() - wrong.now() == pytest.approx(86_400.0, abs=60.0)
    assert wrong.monotonic() >= right.monotonic() - 60.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Hold the machine's clocks, the boot clock with them, and return what moves them."""
    elapsed = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: elapsed[0])
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0 + elapsed[0])
    monkeypatch.setattr(time, "clock_gettime", lambda _: 50.0 + elapsed[0])
    monkeypatch.setattr("flowport.runtime.clock._BOOT_CLOCK", 7)
    monkeypatch.setattr("flowport.runtime.clock._get_boot_id", lambda: "this boot")

    def pass_seconds(seconds: float) -> None:
        """Let time pass."""
        elapsed[0] += seconds

    return pass_seconds


def read(clock: Clock) -> tuple[float, float, float]:
    """Return what the three clocks in one say."""
    boot = clock.boot_time()
    assert boot is not None
    return clock.now(), clock.monotonic(), boot.seconds


@pytest.mark.parametrize("rate", [0.5, 1.0, 20.0])
def test_every_clock_of_a_process_runs_at_its_rate(machine: Callable[[float], None], rate: float) -> None:
    """One that stayed behind would let waits, ages and the minute of the budget disagree."""
    clock = ShiftedClock(shift_seconds=-30.0, rate=rate)
    before = read(clock)
    machine(6.0)

    assert before[0] == 1_800_000_970.0, "it begins at the right time, but for the shift"
    assert [after - earlier for after, earlier in zip(read(clock), before, strict=True)] == [6.0 * rate] * 3


def test_processes_of_one_rate_share_a_boot_time_and_others_do_not(machine: Callable[[float], None]) -> None:
    """They write it into one record of requests, in which a fast clock's instants would block a right one for hours."""
    first = ShiftedClock(rate=20.0)
    machine(2.0)

    assert ShiftedClock(rate=20.0).boot_time() == first.boot_time() == BootTime("this boot at 20", 20.0 * 1_052.0)
    assert ShiftedClock().boot_time() == SystemClock().boot_time() == BootTime("this boot", 1_052.0)


async def test_waits_are_as_much_shorter_as_the_clock_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that sleeps a minute by a fast clock must not find that twenty have passed."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        """Note for how long."""
        slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    clock = ShiftedClock(rate=20.0)
    await clock.sleep(60.0)
    await clock.sleep(-1.0)

    assert slept == [3.0, 0.0]
    assert clock.move_on_after(4000.0).deadline == pytest.approx(anyio.current_time() + 200.0, abs=60.0)


async def test_time_jumps_to_each_wake_up_in_turn() -> None:
    """Every sleeper must see the very moment for which it asked, whichever other task sleeps."""
    clock, woken = FakeClock(), list[tuple[float, float]]()
    async with anyio.create_task_group() as tasks:
        for seconds in (30.0, 0.5, 3600.0, 30.0):
            tasks.start_soon(note, clock, seconds, woken)
    assert woken == [(0.5, 0.5), (30.0, 30.0), (30.0, 30.0), (3600.0, 3600.0)]
    assert (clock.now(), clock.count_sleepers()) == (1_800_003_600.0, 0)


async def test_time_stands_still_while_a_task_can_run() -> None:
    """A wait that ended early would make a test depend on the order of tasks."""
    clock, woken = FakeClock(), list[tuple[float, float]]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(note, clock, 1.0, woken)
        for _ in range(50):
            await clock.sleep(0)
        assert (woken, clock.monotonic()) == ([], 0.0)


async def test_a_cancelled_sleeper_leaves_the_clock_to_the_others() -> None:
    """The one that drives the clock is as mortal as the rest."""
    clock, woken = FakeClock(), list[tuple[float, float]]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(note, clock, 9.0, woken)
        with anyio.CancelScope() as scope:
            tasks.start_soon(_cancel_soon, clock, scope)
            await clock.sleep(100)
    assert (woken, clock.monotonic()) == ([(9.0, 9.0)], 9.0)


async def _cancel_soon(clock: Clock, scope: anyio.CancelScope) -> None:
    await clock.sleep(1)
    scope.cancel()


async def test_a_timeout_on_a_sleep_that_drives_the_clock_lets_others_wake() -> None:
    """A scope that is cancelled while everybody waits must not stop time for good."""
    clock, woken = FakeClock(), list[tuple[float, float]]()
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(note, clock, 2.0, woken)
            scope.cancel()
            await clock.sleep(1)
    assert woken == [(2.0, 2.0)]


async def test_a_manual_clock_moves_only_by_hand(manual: FakeClock) -> None:
    """Only so can a test see what happens while a task waits."""
    woken = list[tuple[float, float]]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(note, manual, 5.0, woken)
        await manual.settle()
        manual.advance(4.0)
        await manual.settle()
        assert (woken, manual.count_sleepers()) == ([], 1)
        manual.advance(3.0)
    assert woken == [(5.0, 7.0)]


async def test_an_endless_loop_of_sleeps_is_ended() -> None:
    """A test that never ends does not show what is wrong."""
    clock = FakeClock()
    clock._jumps = MAX_JUMPS - 5
    with pytest.raises(RuntimeError, match="endless loop"):
        await _sleep_without_end(clock)
    assert clock.monotonic() == 5.0


async def _sleep_without_end(clock: Clock) -> None:
    while True:
        await clock.sleep(1)


@pytest.mark.parametrize("idle_seconds", [0.0, 0.001])
async def test_two_clocks_of_one_event_loop_do_not_wait_for_each_other(idle_seconds: float) -> None:
    """Each jumps when everybody waits, and one that is about to jump waits too."""
    one, other = FakeClock(idle_seconds=idle_seconds), FakeClock(idle_seconds=idle_seconds)
    woken = list[tuple[float, float]]()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for clock, seconds in ((one, 1.0), (other, 5.0), (one, 7.0)):
                tasks.start_soon(note, clock, seconds, woken)

    assert (one.monotonic(), other.monotonic(), len(woken)) == (7.0, 5.0, 3)


async def test_a_task_that_ticks_is_seen_to_wait_between_its_ticks() -> None:
    """uvicorn ticks every 0.1 s. A look that is as frequent, and in step, meets the tick each time and waits without end."""

    async def tick() -> None:
        """Be busy at the first look, then tick in step with looks that follow at this distance."""
        for _ in range(5):
            await asyncio.sleep(0)
        while True:  # noqa: ASYNC110 - it stands for a server
            await asyncio.sleep(0.1)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            await wait_until_blocked()
            tasks.cancel_scope.cancel()


async def test_work_on_a_thread_ends_before_time_jumps() -> None:
    """A timeout must not beat a store that is still writing."""
    clock, woken = FakeClock(idle_seconds=0.05), list[tuple[float, float]]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(note, clock, 1.0, woken)
        for _ in range(5):
            await anyio.to_thread.run_sync(int)
        assert woken == []
