"""The request limit that learns, against providers whose limit no one documents; under a clock that no one waits for."""

import anyio
import pytest

from flowport.network.ratelimit.limiter import Priority
from flowport.providers.answers import RateLimits
from tests.support.fake_clock import FakeClock
from tests.support.limited_provider import FixedWindow, LimitedWorld, Limiter, SlidingWindow, SlowFile, TokenBucket

BATCH = [*[Priority.START_ROW] * 8, *[Priority.POLL_ROW] * 4]
"""Starts always wait, so that looks only ever get what is sent above the limit, and what starts leave."""


def build_world(limiter: Limiter, *, reports_delay: bool = False) -> LimitedWorld:
    """Return programs with a provider of their own."""
    return LimitedWorld(FakeClock(), limiter, reports_delay)


async def test_a_limit_of_300_is_found_in_15_minutes() -> None:
    """With one refusal, and of no start: what is sent above the limit never starts a run."""
    world = build_world(SlidingWindow(300))
    limiter = world.open("one")
    await world.run(15, [limiter], lambda _: BATCH)
    view = await limiter.get_status()
    assert 270 <= view.limit <= 300
    assert world.count_accepted(14 * 60.0, 15 * 60.0) >= 270
    assert [one.is_start for one in world.refused] in ([], [False], [False] * 2)
    assert world.sent_starts > 1000


@pytest.mark.parametrize("reports_delay", [False, True])
@pytest.mark.parametrize("programs", [1, 2, 4])
async def test_a_limit_of_50_costs_no_more_than_two_refusals_in_20_minutes(
    programs: int, *, reports_delay: bool
) -> None:
    """However many programs of one home share the key, and whether or not the provider says when to come back."""
    world = build_world(SlidingWindow(50), reports_delay=reports_delay)
    limiters = [world.open(str(number)) for number in range(programs)]
    await world.run(20, limiters, lambda _: BATCH)
    assert 1 <= len(world.refused) <= 2
    assert not any(one.is_start for one in world.refused)
    assert world.count_accepted(5 * 60.0, 20 * 60.0) >= 15 * 46


@pytest.mark.parametrize("limiter", [SlidingWindow(60), SlidingWindow(75), SlidingWindow(100)])
async def test_a_limit_a_little_above_the_documented_one_is_found(limiter: Limiter) -> None:
    """Nearly all of it, although the account stays a little below what was refused."""
    world = build_world(limiter)
    await world.run(10, [world.open("one"), world.open("two")], lambda _: BATCH)
    assert world.count_accepted(9 * 60.0, 10 * 60.0) >= 0.85 * limiter.limit
    assert len(world.refused) <= 2
    assert not any(one.is_start for one in world.refused)


async def test_a_look_that_comes_while_starts_ask_is_not_overlooked() -> None:
    """On a disk an exchange takes a moment, in which the next look may come; anyone who asks would sleep past it."""
    world = build_world(SlidingWindow(300))
    world.file, world.latency_seconds = SlowFile(world.clock, 0.05), 0.02
    limiter = world.open("one")
    await world.run(5, [limiter], lambda _: [*[Priority.START_ROW] * 8, Priority.POLL_ROW])
    assert (await limiter.get_status()).limit >= 125


@pytest.mark.parametrize("limiter", [SlidingWindow(30), FixedWindow(30)])
async def test_a_limit_below_the_documented_one_is_obeyed_from_then_on(limiter: Limiter) -> None:
    """The documentation is what the first minute goes by; two minutes later one look finds out whether that was chance."""
    world = build_world(limiter)
    await world.run(20, [world.open("one")], lambda _: BATCH)
    assert len({int(one.at / 10.0) for one in world.refused}) <= 3
    assert sum(one.is_start for one in world.refused) <= 2
    assert world.count_accepted(19 * 60.0, 20 * 60.0) >= 20


@pytest.mark.parametrize("limiter", [FixedWindow(50), FixedWindow(100), TokenBucket(30), TokenBucket(100)])
async def test_windows_that_do_not_slide_cost_few_refusals(limiter: Limiter) -> None:
    """They notice a rate late and then refuse any request, a start too, which is sent again after the pause."""
    world = build_world(limiter)
    await world.run(12, [world.open("one")], lambda _: BATCH)
    events = {int(one.at / 10.0) for one in world.refused}
    assert len(events) <= 4
    assert world.count_accepted(11 * 60.0, 12 * 60.0) >= 0.7 * limiter.limit


async def test_nothing_is_tried_without_work_that_waits() -> None:
    """Forty requests a minute need no more than fifty."""
    world = build_world(SlidingWindow(300))
    limiter = world.open("one")
    for _ in range(400):
        await limiter.take(Priority.POLL)
        await world.send(limiter, is_start=False)
        await world.clock.sleep(1.3)
    assert (await limiter.get_status()).limit == 50


async def test_starts_alone_are_never_sent_above_the_limit() -> None:
    """Without a look that could be, nothing is learned."""
    world = build_world(SlidingWindow(300))
    limiter = world.open("one")
    await world.run(10, [limiter], lambda _: [*[Priority.START] * 4, *[Priority.START_ROW] * 4])
    assert (await limiter.get_status()).limit == 50
    assert world.count_accepted(0.0, 600.0) <= 10 * 50


@pytest.mark.parametrize("ceiling", [20, 50, 90])
async def test_the_setting_is_never_exceeded(ceiling: int) -> None:
    """Not for one request, in any minute."""
    world = build_world(SlidingWindow(300))
    await world.run(8, [world.open("one", ceiling=ceiling), world.open("two", ceiling=ceiling)], lambda _: BATCH)
    times = sorted(world.accepted)
    assert all(later - earlier > 60.0 for earlier, later in zip(times, times[ceiling:], strict=False))
    assert world.count_accepted(7 * 60.0, 8 * 60.0) >= 0.9 * ceiling


async def test_what_was_learned_is_remembered_by_the_next_program() -> None:
    """A restart begins where the last one stopped, and so does a second window of the same home."""
    world = build_world(SlidingWindow(120))
    await world.run(6, [world.open("one")], lambda _: BATCH)
    learned = (await world.open("next").get_status()).limit
    assert learned >= 90
    await world.clock.sleep(120.0)
    began_at = world.clock.monotonic()
    await world.run(1, [world.open("next")], lambda _: BATCH)
    assert world.count_accepted(began_at, began_at + 60.0) >= 0.9 * learned


async def test_a_limit_that_falls_is_obeyed_within_minutes_and_one_that_rises_is_found() -> None:
    """From 120 to 60 and, later, to 200."""
    world = build_world(SlidingWindow(120))
    limiter = world.open("one")
    await world.run(6, [limiter], lambda _: BATCH)
    world.refused.clear()
    world.limiter.limit = 60
    await world.run(10, [limiter], lambda _: BATCH)
    assert len(world.refused) <= 5
    assert all(one.at < 11 * 60.0 for one in world.refused)
    assert 40 <= world.count_accepted(15 * 60.0, 16 * 60.0) <= 60
    world.limiter.limit = 200
    # By then the last refusal is an hour old, whatever it was.
    await world.clock.sleep(3600.0)
    began_at = world.clock.monotonic()
    await world.run(12, [limiter], lambda _: BATCH)
    assert world.count_accepted(began_at + 11 * 60.0, began_at + 12 * 60.0) > 120


async def test_other_programs_on_the_same_key_are_made_room_for() -> None:
    """They are known only by what the provider refuses, far below what it has accepted before."""
    world = build_world(SlidingWindow(50))
    limiter = world.open("one")

    async def send_elsewhere() -> None:
        """Take most of the limit for some minutes, from another computer."""
        for _ in range(200):
            world.limiter.allow(world.clock.monotonic())
            await world.clock.sleep(1.5)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_elsewhere)
        await world.run(20, [limiter], lambda _: BATCH)
    assert world.count_accepted(19 * 60.0, 20 * 60.0) >= 35
    assert len(world.refused) <= 12


async def test_headers_win() -> None:
    """Where the provider reports what is left of its minute, nothing is sent that it would refuse."""
    world = build_world(window := SlidingWindow(90))
    limiter = world.open("one", documented=60)

    async def work(priority: Priority) -> None:
        """Send, and report what the answer's headers say."""
        while world.clock.monotonic() < 900.0:
            await limiter.take(priority)
            await world.send(limiter, is_start=priority.name.startswith("START"))
            limiter.note_limits(RateLimits(*window.get_left(world.clock.monotonic())))

    async with anyio.create_task_group() as tasks:
        for priority in BATCH:
            tasks.start_soon(work, priority)
    assert world.refused == []
    assert world.count_accepted(13 * 60.0, 14 * 60.0) >= 80
