"""What a provider's refusals, numbers and pauses teach all programs of one key: about the minute and about the day."""

import anyio
import pytest

from flowport.domain.errors import DayUsedUp, Operation
from flowport.network.ratelimit.limiter import LimiterStatus, Priority
from flowport.network.ratelimit.record import SPAN_SECONDS as SPAN
from flowport.network.ratelimit.state import parse_record
from flowport.network.ratelimit.window import DAY_SECONDS, HEARTBEAT_SECONDS
from flowport.providers.answers import RateLimits
from tests.support.programs import KEY, Programs


async def test_a_pause_is_everybodys_and_requests_are_spread_after_it() -> None:
    """The provider refused one of 8; a quarter fewer than the 7 others go out in the next minute, one by one."""
    programs = Programs(2, 16)
    await programs.take_all([(0.0, 0, Priority.POLL)] * 8)
    programs.limiters[0].note_busy(100.0)
    programs.limiters[0].note_busy(5.0)
    granted = await programs.take_all([(1.0, 1, Priority.POLL)] * 3)
    gap = SPAN / 5
    assert [at for at, _ in granted[8:]] == pytest.approx([100.0, 100.0 + gap, 100.0 + 2 * gap])
    view = await programs.limiters[0].get_status()
    assert (view.limit, view.refused_above, view.used) == (5, 7, 3)


async def test_the_window_is_longer_by_what_an_answer_took() -> None:
    """The provider counts a request when it arrives; one that took a second must not be followed by a faster one."""
    programs = Programs(2, 4)
    limiter = programs.limiters[0]
    await programs.take_all([(0.0, 0, Priority.START)] * 4)
    for seconds in (0.5, 1.5, 1.6, 0.1):
        limiter.note_over(programs.clock.monotonic() - seconds)
    assert parse_record(programs.file.texts[KEY]).delay == 1.5
    await programs.take((1.0, 1, Priority.START))
    assert programs.granted[-1] == (SPAN + 1.5, 1)
    await programs.clock.sleep(2 * SPAN)
    limiter.note_over(programs.clock.monotonic() - 0.25)
    limiter.note_over(programs.clock.monotonic() - 90.0)
    assert parse_record(programs.file.texts[KEY]).delay == 2.0


async def test_a_slow_answer_is_forgotten_with_the_requests_of_its_time() -> None:
    """One bad minute must not cost throughput forever."""
    programs = Programs(1, 4)
    for seconds, pause in ((1.5, 90.0), (0.25, 90.0), (0.125, 0.0)):
        programs.limiters[0].note_over(programs.clock.monotonic() - seconds)
        await programs.clock.sleep(pause)
    assert parse_record(programs.file.texts[KEY]).delay == 0.125


async def test_a_lowered_limit_rises_again_while_work_waits_and_not_by_time_alone() -> None:
    """Anyone who else used the key may have stopped; without work nothing shows it."""
    programs = Programs(1, 16)
    limiter = programs.limiters[0]
    await programs.take((0.0, 0, Priority.POLL))
    limiter.note_busy(10.0)
    programs.clock.advance(3600.0)
    assert (await limiter.get_status()).limit == 2
    for _ in range(60):
        await limiter.take(Priority.POLL)
        limiter.note_accepted(limiter.note_sent())
    assert 12 <= (await limiter.get_status()).limit <= 16


async def test_a_whole_burst_that_was_refused_is_one_lesson() -> None:
    """Ten were under way together, and the last of them was answered when the pause was over."""
    programs = Programs(1, 40)
    await programs.take_all([(0.0, 0, Priority.POLL)] * 40)
    sent_at = programs.limiters[0].note_sent()
    for _ in range(10):
        programs.limiters[0].note_busy(5.0, sent_at)
    await programs.clock.sleep(9.0)
    programs.limiters[0].note_busy(5.0, sent_at)
    view = await programs.limiters[0].get_status()
    assert (view.limit, view.refused_above) == (39 * 3 // 4, 39)


async def test_a_long_pause_is_not_about_the_minute() -> None:
    """A limit of the day or the hour says nothing of the minute's."""
    programs = Programs(1, 40)
    await programs.take((0.0, 0, Priority.POLL))
    programs.limiters[0].note_busy(300.0)
    view = await programs.limiters[0].get_status()
    assert (view.limit, view.paused_seconds) == (40, 300.0)


async def test_a_refusal_right_after_a_pause_doubles_the_pause() -> None:
    """A provider that names no delay may need a whole minute before it accepts anything."""
    programs = Programs(1, 40)
    pauses = []
    for _ in range(4):
        await programs.limiters[0].take(Priority.POLL)
        programs.limiters[0].note_busy(10.0)
        pauses.append((await programs.limiters[0].get_status()).paused_seconds)
    assert pauses == pytest.approx([10.0, 20.0, 40.0, 60.0])


async def test_what_the_provider_says_is_left_holds_until_its_reset() -> None:
    """Another program, of another computer, uses the same key; answers that are still to come are not in its number."""
    programs = Programs(2, 40)
    now = programs.clock.now()
    for _ in range(2):
        programs.limiters[0].note_sent()
    programs.limiters[0].note_limits(RateLimits(5, reset_at=now + 30.0))
    granted = await programs.take_all([(0.0, n % 2, Priority.POLL) for n in range(6)])
    assert [at for at, _ in granted] == [0.0] * 3 + [30.0] * 3
    programs.limiters[0].note_limits(RateLimits(0))
    await programs.take((30.0, 0, Priority.POLL))
    assert programs.granted[-1][0] == 30.0


async def test_a_day_that_is_used_up_refuses_starts_and_lets_looks_wait() -> None:
    """By the provider's word; nothing may be spent, and what is paid for is seen as soon as it can be."""
    programs = Programs(2, 40)
    programs.limiters[0].note_limits(RateLimits(0, reset_seconds=1000.0))
    programs.limiters[0].note_busy(300.0)
    for priority in set(Priority) - {Priority.POLL, Priority.POLL_DUE_ROW, Priority.POLL_ROW}:
        with pytest.raises(DayUsedUp) as caught:
            await programs.limiters[1].take(priority, Operation.LIST_APPS)
        assert str(caught.value).startswith(
            "Magica allows this key no more requests today and was not asked to list its"
        )
        assert (caught.value.is_reported, caught.value.resumes_seconds) == (True, 1000.0)
    assert await programs.limiters[1].get_status() == LimiterStatus(
        0, 40, 40, is_learned=False, refused_above=0, paused_seconds=0.0, day_left=0, is_shared=True
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(programs.take, (0.0, 0, Priority.POLL))
        tasks.start_soon(_expect_refusal, programs, 50.0)
    assert programs.granted == [(1000.0, 0)]


async def _expect_refusal(programs: Programs, at: float) -> None:
    """Ask for a definition behind a look that waits for tomorrow; the answer comes at the look's next try."""
    await programs.clock.sleep(at)
    with pytest.raises(DayUsedUp):
        await programs.limiters[0].take(Priority.DISCOVER)
    assert programs.clock.monotonic() <= at + HEARTBEAT_SECONDS


async def test_after_an_hour_one_request_finds_out_whether_the_day_goes_on() -> None:
    """The person may have raised the limit at the provider; a header may have been wrong."""
    programs = Programs(1, 40)
    programs.limiters[0].note_limits(RateLimits(0, reset_seconds=9000.0))
    granted = await programs.take_all([(0.0, 0, Priority.POLL)] * 3)
    assert [at for at, _ in granted] == [3600.0, 3660.0, 3720.0]
    programs.limiters[0].note_limits(RateLimits(700, reset_seconds=5000.0))
    await programs.limiters[0].take(Priority.START)
    assert (await programs.limiters[0].get_status()).day_left == 699


async def test_our_own_count_of_the_day_keeps_its_last_part_for_looks() -> None:
    """A run that was paid for with the last request could not be seen before tomorrow."""
    programs = Programs(1, 100, per_day=20)
    await programs.take_all([(0.0, 0, Priority.START)] * 19)
    with pytest.raises(DayUsedUp) as caught:
        await programs.limiters[0].take(Priority.START)
    # The limit may be the person's own, and no day is longer than a day.
    assert (caught.value.is_reported, caught.value.resumes_seconds) == (False, DAY_SECONDS)
    await programs.take((0.0, 0, Priority.POLL))
    view = await programs.limiters[0].get_status()
    assert (view.day_left, view.is_day_used_up) == (0, True)
    await programs.take((0.0, 0, Priority.POLL))
    assert programs.granted[-1][0] == 88_200.0


async def test_a_day_without_any_request_allows_none() -> None:
    """The provider's constant may be smaller than what was used up elsewhere."""
    programs = Programs(1, 100, per_day=20)
    programs.limiters[0].note_limits(RateLimits(1, reset_seconds=500.0))
    with pytest.raises(DayUsedUp) as caught:
        await programs.limiters[0].take(Priority.START)
    assert caught.value.resumes_seconds == 500.0
