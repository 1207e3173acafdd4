"""What a provider's refusals, numbers and pauses teach all programs of one key: about the minute and about the day."""

import anyio
import pytest

from flowport.allowance import DAY_SECONDS, NAP_SECONDS
from flowport.allowance import SPAN_SECONDS as SPAN
from flowport.budget import Priority, Standing
from flowport.errors import DayUsedUp, Operation
from flowport.providers.rate_limits import RateLimits
from flowport.windows import parse_record
from tests.programs import KEY, Programs


async def test_a_pause_is_everybodys_and_requests_are_spread_after_it() -> None:
    """The provider refused one of 8; a quarter fewer go out in the next minute, one by one."""
    programs = Programs(2, 16)
    await programs.take_all([(0.0, 0, Priority.LOOK)] * 8)
    programs.budgets[0].note_busy(100.0)
    programs.budgets[0].note_busy(5.0)
    granted = await programs.take_all([(1.0, 1, Priority.LOOK)] * 3)
    gap = SPAN / 6
    assert [at for at, _ in granted[8:]] == pytest.approx([100.0, 100.0 + gap, 100.0 + 2 * gap])
    standing = await programs.budgets[0].look()
    assert (standing.limit, standing.believed_limit, standing.used) == (16, 6, 3)


async def test_the_window_is_longer_by_what_an_answer_took() -> None:
    """The provider counts a request when it arrives; one that took a second must not be followed by a faster one."""
    programs = Programs(2, 4)
    budget = programs.budgets[0]
    await programs.take_all([(0.0, 0, Priority.START)] * 4)
    for seconds in (0.5, 1.5, 1.6, 0.1):
        budget.note_over(programs.clock.monotonic() - seconds)
    assert parse_record(programs.file.texts[KEY]).delay == 1.5
    await programs.take((1.0, 1, Priority.START))
    assert programs.granted[-1] == (SPAN + 1.5, 1)
    await programs.clock.sleep(2 * SPAN)
    budget.note_over(programs.clock.monotonic() - 0.25)
    budget.note_over(programs.clock.monotonic() - 90.0)
    assert parse_record(programs.file.texts[KEY]).delay == 2.0


async def test_a_slow_answer_is_forgotten_with_the_requests_of_its_time() -> None:
    """One bad minute must not cost throughput for ever."""
    programs = Programs(1, 4)
    for seconds, pause in ((1.5, 90.0), (0.25, 90.0), (0.125, 0.0)):
        programs.budgets[0].note_over(programs.clock.monotonic() - seconds)
        await programs.clock.sleep(pause)
    assert parse_record(programs.file.texts[KEY]).delay == 0.125


async def test_a_lowered_limit_comes_back_step_by_step() -> None:
    """Whoever else used the key may have stopped."""
    programs = Programs(1, 16)
    await programs.take((0.0, 0, Priority.LOOK))
    programs.budgets[0].note_busy(10.0)
    believed = []
    for minute in range(9):
        programs.clock.advance(10.0 + 60.0 * minute - programs.clock.monotonic())
        believed.append((await programs.budgets[0].look()).believed_limit)
    assert believed == [2, 4, 6, 8, 10, 12, 14, 16, 16]


async def test_a_whole_burst_that_was_refused_is_one_lesson() -> None:
    """Ten were under way together."""
    programs = Programs(1, 40)
    await programs.take_all([(0.0, 0, Priority.LOOK)] * 40)
    for _ in range(10):
        programs.budgets[0].note_busy(5.0)
    assert (await programs.budgets[0].look()).believed_limit == 30


async def test_what_the_provider_says_is_left_holds_until_its_reset() -> None:
    """Another program, of another computer, uses the same key; answers that are still to come are not in its number."""
    programs = Programs(2, 40)
    now = programs.clock.now()
    for _ in range(2):
        programs.budgets[0].note_sent()
    programs.budgets[0].note_limits(RateLimits(5, reset_at=now + 30.0))
    granted = await programs.take_all([(0.0, n % 2, Priority.LOOK) for n in range(6)])
    assert [at for at, _ in granted] == [0.0] * 3 + [30.0] * 3
    programs.budgets[0].note_limits(RateLimits(0))
    await programs.take((30.0, 0, Priority.LOOK))
    assert programs.granted[-1][0] == 30.0


async def test_a_day_that_is_used_up_refuses_starts_and_lets_looks_wait() -> None:
    """By the provider's word; nothing may be spent, and what is paid for is seen as soon as it can be."""
    programs = Programs(2, 40)
    programs.budgets[0].note_limits(RateLimits(0, reset_seconds=1000.0))
    programs.budgets[0].note_busy(300.0)
    for priority in set(Priority) - {Priority.LOOK, Priority.LOOK_OVER, Priority.LOOK_ROW}:
        with pytest.raises(DayUsedUp) as caught:
            await programs.budgets[1].take(priority, Operation.LIST_APPS)
        assert str(caught.value).startswith(
            "Magica allows this key no more requests today and was not asked to list its"
        )
        assert (caught.value.is_told, caught.value.resumes_seconds) == (True, 1000.0)
    assert await programs.budgets[1].look() == Standing(0, 40, 40, 0.0, 0, is_shared=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(programs.take, (0.0, 0, Priority.LOOK))
        tasks.start_soon(_expect_refusal, programs, 50.0)
    assert programs.granted == [(1000.0, 0)]


async def _expect_refusal(programs: Programs, at: float) -> None:
    """Ask for a definition behind a look that waits for tomorrow; the answer comes at the look's next try."""
    await programs.clock.sleep(at)
    with pytest.raises(DayUsedUp):
        await programs.budgets[0].take(Priority.DISCOVER)
    assert programs.clock.monotonic() <= at + NAP_SECONDS


async def test_after_an_hour_one_request_finds_out_whether_the_day_goes_on() -> None:
    """The person may have raised the limit at the provider; a header may have been wrong."""
    programs = Programs(1, 40)
    programs.budgets[0].note_limits(RateLimits(0, reset_seconds=9000.0))
    granted = await programs.take_all([(0.0, 0, Priority.LOOK)] * 3)
    assert [at for at, _ in granted] == [3600.0, 3660.0, 3720.0]
    programs.budgets[0].note_limits(RateLimits(700, reset_seconds=5000.0))
    await programs.budgets[0].take(Priority.START)
    assert (await programs.budgets[0].look()).day_left == 699


async def test_our_own_count_of_the_day_keeps_its_last_part_for_looks() -> None:
    """A run that was paid for with the last request could not be seen before tomorrow."""
    programs = Programs(1, 100, per_day=20)
    await programs.take_all([(0.0, 0, Priority.START)] * 19)
    with pytest.raises(DayUsedUp) as caught:
        await programs.budgets[0].take(Priority.START)
    # The limit may be the person's own, and no day is longer than a day.
    assert (caught.value.is_told, caught.value.resumes_seconds) == (False, DAY_SECONDS)
    await programs.take((0.0, 0, Priority.LOOK))
    standing = await programs.budgets[0].look()
    assert (standing.day_left, standing.is_day_used_up) == (0, True)
    await programs.take((0.0, 0, Priority.LOOK))
    assert programs.granted[-1][0] == 88_200.0


async def test_a_day_without_any_request_allows_none() -> None:
    """The provider's constant may be smaller than what was used up elsewhere."""
    programs = Programs(1, 100, per_day=20)
    programs.budgets[0].note_limits(RateLimits(1, reset_seconds=500.0))
    with pytest.raises(DayUsedUp) as caught:
        await programs.budgets[0].take(Priority.START)
    assert caught.value.resumes_seconds == 500.0
