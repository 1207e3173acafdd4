"""The request budget, under a clock that no one has to wait for."""

import itertools
from collections.abc import Sequence

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.network.ratelimit.limiter import Priority, RateLimiter
from flowport.network.ratelimit.record import SPAN_SECONDS as SPAN
from flowport.network.ratelimit.window import KEPT_PARTS, KEPT_PARTS_URGENT, ROW_HASTE
from tests.support.fake_clock import FakeClock

Grant = tuple[float, Priority]


async def take(limiter: RateLimiter, clock: FakeClock, arrival: Grant, granted: list[Grant]) -> None:
    """Arrive at a time, wait for the turn and note when it came."""
    at, priority = arrival
    await clock.sleep(at - clock.monotonic())
    await limiter.take(priority)
    granted.append((clock.monotonic(), priority))


async def take_all(limit: int, arrivals: Sequence[Grant]) -> list[Grant]:
    """Return when each of these requests was granted, in the order of the grants."""
    clock = FakeClock()
    limiter, granted = RateLimiter(limit, clock), list[Grant]()
    async with anyio.create_task_group() as tasks:
        for arrival in arrivals:
            tasks.start_soon(take, limiter, clock, arrival, granted)
    return granted


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves by itself."""
    return FakeClock()


@given(
    limit=st.integers(1, 6),
    arrivals=st.lists(st.tuples(st.floats(0, 200), st.sampled_from(Priority)), max_size=25),
)
@settings(deadline=None, max_examples=100)
def test_no_minute_ever_holds_more_than_the_limit(limit: int, arrivals: list[Grant]) -> None:
    """The provider counts in a sliding window, and so must we; and everybody gets a turn in the end."""
    granted = anyio.run(take_all, limit, arrivals)
    assert sorted(priority for _, priority in granted) == sorted(priority for _, priority in arrivals)
    times = [at for at, _ in granted]
    assert all(later - earlier > 60.0 for earlier, later in zip(times, times[limit:], strict=False))


@given(arrivals=st.lists(st.tuples(st.just(0.0), st.sampled_from(Priority)), max_size=12))
@settings(deadline=None, max_examples=50)
def test_the_urgent_go_first_and_equals_in_their_order(arrivals: list[Grant]) -> None:
    """A person waits for a start; no one waits for a definition."""
    granted = anyio.run(take_all, 1, [(0.0, Priority.START), *((1.0, priority) for _, priority in arrivals)])
    assert [priority for _, priority in granted[1:]] == sorted(priority for _, priority in arrivals)


async def test_a_burst_is_allowed_and_the_rest_comes_as_the_window_slides() -> None:
    """The documented limit is per minute, not per second."""
    arrivals = [(float(at), Priority.POLL) for at in (0, 10, 20, 30, 31)]
    granted = await take_all(3, arrivals)
    assert [at for at, _ in granted] == [0.0, 10.0, 20.0, SPAN, 10.0 + SPAN]


async def test_discovery_that_can_wait_leaves_half_of_the_window(clock: FakeClock) -> None:
    """A thousand definitions must not stand in the way of a run."""
    later = [(0.0, Priority.DISCOVER_LATER)] * 5
    looks = [(1.0, Priority.POLL)] * 2
    granted = await take_all(4, [*later, *looks])
    assert [at for at, _ in granted] == [0.0, 0.0, 1.0, 1.0, SPAN + 1.0, SPAN + 1.0, 2 * SPAN + 1.0]


async def test_discovery_that_can_wait_is_served_even_by_the_smallest_limit() -> None:
    """Half of one request would be none."""
    assert len(await take_all(1, [(0.0, Priority.DISCOVER_LATER)] * 2)) == 2


async def test_one_who_stops_waiting_blocks_no_one(clock: FakeClock) -> None:
    """A call that is cancelled while it stands first must not hold its place forever."""
    limiter, granted = RateLimiter(1, clock), list[Grant]()
    await limiter.take(Priority.START)
    async with anyio.create_task_group() as tasks, anyio.create_task_group() as leaving:
        leaving.start_soon(limiter.take, Priority.START)
        leaving.start_soon(limiter.take, Priority.POLL)
        tasks.start_soon(take, limiter, clock, (0.0, Priority.DISCOVER), granted)
        tasks.start_soon(_cancel_later, clock, leaving.cancel_scope)
    assert granted == [(SPAN, Priority.DISCOVER)]
    assert limiter.get_used() == 1


async def _cancel_later(clock: FakeClock, scope: anyio.CancelScope) -> None:
    await clock.sleep(5.0)
    scope.cancel()


async def test_nothing_is_granted_while_the_provider_is_busy(clock: FakeClock) -> None:
    """It said when to come back; the longest of its words counts, for those who wait already too."""
    limiter, granted = RateLimiter(1, clock), list[Grant]()
    await limiter.take(Priority.POLL)
    limiter.note_busy(100.0)
    limiter.note_busy(20.0)
    await take(limiter, clock, (0.0, Priority.START), granted)
    assert granted == [(100.0, Priority.START)]


async def test_a_pause_that_begins_while_someone_waits_holds_for_him(clock: FakeClock) -> None:
    """A 429 comes back while others stand in the queue."""
    limiter, granted = RateLimiter(1, clock), list[Grant]()
    await limiter.take(Priority.POLL)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, limiter, clock, (0.0, Priority.START), granted)
        await clock.sleep(59.0)
        limiter.note_busy(30.0)
    assert granted == [(89.0, Priority.START)]


async def test_no_limit_lets_everybody_through_but_for_a_pause(clock: FakeClock) -> None:
    """The sandbox has no limit, and may still play a busy provider."""
    limiter = RateLimiter(0, clock)
    for _ in range(500):
        await limiter.take(Priority.DISCOVER_LATER)
    assert (limiter.limit, clock.monotonic()) == (0, 0.0)
    limiter.note_busy(7.0)
    await limiter.take(Priority.START)
    assert clock.monotonic() == 7.0


async def test_without_a_limit_the_past_is_forgotten_all_the_same(clock: FakeClock) -> None:
    """A server that runs for months must not keep every request in memory."""
    limiter = RateLimiter(0, clock)
    for _ in range(10):
        await limiter.take(Priority.POLL)
        clock.advance(SPAN)
    assert len(limiter._sent) <= 2


async def test_the_last_minute_is_counted(clock: FakeClock) -> None:
    """get_balance shows it."""
    limiter = RateLimiter(5, clock)
    await limiter.take(Priority.POLL)
    await clock.sleep(30.0)
    await limiter.take(Priority.POLL)
    assert limiter.get_used() == 2
    clock.advance(31.0)
    assert limiter.get_used() == 1


async def test_rows_leave_a_part_of_the_window_to_anyone_who_comes() -> None:
    """A person's start must not wait for a minute because two hundred rows were there first."""
    rows = [(0.0, Priority.START_ROW)] * 60
    granted = await take_all(50, [*rows, (40.0, Priority.START), (50.0, Priority.POLL)])
    first = [(at, priority) for at, priority in granted if at < 60.0]
    assert sum(priority is Priority.START_ROW for _, priority in first) == 50 - 50 // KEPT_PARTS
    assert [(at, priority) for at, priority in first if priority is not Priority.START_ROW] == [
        (40.0, Priority.START),
        (50.0, Priority.POLL),
    ]


async def test_rows_leave_more_once_someone_has_come() -> None:
    """A run that is waited for needs more than its start; the nearer the next window, the less of it."""
    granted = await take_all(50, [(0.0, Priority.START), *[(1.0, Priority.START_ROW)] * 60])
    rows = [at for at, priority in granted if priority is Priority.START_ROW]
    kept = 50 // KEPT_PARTS_URGENT
    assert kept / 2 <= 50 - (1 + sum(at < SPAN / 3 for at in rows)) <= kept
    assert 0 < 50 - (1 + sum(at < SPAN for at in rows)) < kept / 2


async def test_anyone_who_waits_finds_a_request_every_so_often_beside_rows_without_end() -> None:
    """A part that is used up in the first seconds would leave a person waiting for the rest of the minute."""
    gap = SPAN / (50 // KEPT_PARTS_URGENT)
    looks = [(n * gap, Priority.POLL) for n in range(60)]
    granted = await take_all(50, [(0.0, Priority.START), *[(1.0, Priority.START_ROW)] * 500, *looks])
    came = [at for at, priority in granted if priority is Priority.POLL]
    assert came == pytest.approx([at for at, _ in looks])
    # And what they free in time is not left a second time.
    assert sum(SPAN <= at < 2 * SPAN for at, _ in granted) >= 49


async def test_rows_do_not_outrun_their_own_answers() -> None:
    """Twenty at once would look at rows before the first of them has made room for another start."""
    granted = await take_all(50, [(0.0, Priority.POLL_ROW)] * 20)
    pauses = [after - before for (before, _), (after, _) in itertools.pairwise(granted)]
    assert pauses == pytest.approx([60.0 / (ROW_HASTE * 50)] * 19)


async def test_who_is_served_along_with_another_does_not_sleep_on() -> None:
    """It counts from the grant; sent seconds later, it would be one too many when its place in the window is free again."""
    rows = [(0.0, Priority.START_ROW)] * 50
    granted = await take_all(50, [(0.0, Priority.START), *rows, (24.0, Priority.POLL)])
    place = granted.index((24.0, Priority.POLL))
    assert granted[place + 1] == (24.0, Priority.START_ROW)


async def test_who_stands_in_line_receives_about_how_long(clock: FakeClock) -> None:
    """Third in the queue, about so many seconds: the first when the window frees a place, the others behind it."""
    limiter = RateLimiter(2, clock)
    assert limiter.get_wait(1) == 0.0
    reported = list[float]()

    async def demand() -> None:
        """Ask while the first of the line waits."""
        await clock.sleep(1.0)
        reported.extend([limiter.get_wait(1), limiter.get_wait(3)])

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(limiter.take, Priority.START)
        tasks.start_soon(demand)
    assert reported == pytest.approx([SPAN - 1.0, SPAN - 1.0 + SPAN])


async def test_the_wait_that_is_reported_knows_of_a_pause(clock: FakeClock) -> None:
    """Also where there is no limit."""
    limiter = RateLimiter(0, clock)
    assert limiter.get_wait(9) == 0.0
    limiter.note_busy(7.0)
    assert limiter.get_wait(1) == 7.0
