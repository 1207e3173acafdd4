"""Budgets of several programs over one record, under a clock that no one has to wait for."""

from collections.abc import Sequence
from math import ceil

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.domain.models import BootTime
from flowport.network.ratelimit.learned_limit import LearnedLimit, Mark
from flowport.network.ratelimit.limiter import LimiterStatus, Priority
from flowport.network.ratelimit.record import SPAN_SECONDS as SPAN
from flowport.network.ratelimit.record import AccountRecord, Counted, Quota, Waiter
from flowport.network.ratelimit.state import dump_record, get_time, parse_record
from flowport.network.ratelimit.window import GRACE_SECONDS, HEARTBEAT_SECONDS
from flowport.providers.answers import RateLimits
from tests.support.fake_clock import FakeClock
from tests.support.programs import KEY, Arrival, Grant, Programs


async def _take_all(count: int, limit: int, arrivals: Sequence[Arrival]) -> list[Grant]:
    return await Programs(count, limit).take_all(arrivals)


@given(
    limit=st.integers(1, 9),
    count=st.integers(1, 4),
    arrivals=st.lists(st.tuples(st.floats(0, 150), st.integers(0, 3), st.sampled_from(Priority)), max_size=30),
)
@settings(deadline=None, max_examples=150)
def test_no_minute_of_all_programs_together_holds_more_than_the_limit(
    limit: int, count: int, arrivals: list[Arrival]
) -> None:
    """The provider counts the key and not the program; and everybody gets a turn in the end."""
    arrivals = [(at, program % count, priority) for at, program, priority in arrivals]
    times = [at for at, _ in anyio.run(_take_all, count, limit, arrivals)]
    assert len(times) == len(arrivals)
    assert all(later - earlier > 60.0 for earlier, later in zip(times, times[limit:], strict=False))
    # The least urgent have half of each window to themselves.
    windows = ceil(len(arrivals) / max(1, limit // 2)) + 1
    assert max(times, default=0.0) <= 150.0 + windows * SPAN


@given(
    limit=st.integers(1, 6),
    arrivals=st.lists(
        st.tuples(st.floats(0, 100), st.integers(0, 2), st.sampled_from(Priority), st.floats(0, 90)), max_size=20
    ),
)
@settings(deadline=None, max_examples=100)
def test_those_who_leave_neither_take_nor_block_anything(
    limit: int, arrivals: list[tuple[float, int, Priority, float]]
) -> None:
    """A client may cancel at any moment, and a cancelled request must not be lost for the others for long."""

    async def run() -> list[Grant]:
        """Let each wait for its patience only, and one more come at the end."""
        programs = Programs(3, limit)

        async def try_to_take(at: float, program: int, priority: Priority, patience: float) -> None:
            """Arrive, and leave when it takes too long."""
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(programs.take, (at, program, priority))
                await programs.clock.sleep(at + patience)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for arrival in arrivals:
                tasks.start_soon(try_to_take, *arrival)
        await programs.take((190.0, 0, Priority.DISCOVER_LATER))
        return programs.granted

    times = [at for at, _ in anyio.run(run)]
    assert all(later - earlier > 60.0 for earlier, later in zip(times, times[limit:], strict=False))
    assert 190.0 <= times[-1] <= 190.0 + SPAN + HEARTBEAT_SECONDS + GRACE_SECONDS


@given(
    limit=st.integers(2, 9),
    failing=st.lists(st.tuples(st.floats(1, 120), st.booleans()), max_size=6),
    arrivals=st.lists(st.tuples(st.floats(0, 150), st.integers(0, 1), st.sampled_from(Priority)), max_size=25),
)
@settings(deadline=None, max_examples=100)
def test_a_file_that_comes_and_goes_stops_no_one(
    limit: int, failing: list[tuple[float, bool]], arrivals: list[Arrival]
) -> None:
    """Each program then goes by itself, within the limit that the person has set for all."""

    async def run() -> list[Grant]:
        """Play the arrivals while the file fails now and then."""
        programs = Programs(2, limit)

        async def disturb() -> None:
            """Make the file fail, or not, at its times."""
            for at, is_failing in sorted(failing):
                await programs.clock.sleep(at - programs.clock.monotonic())
                programs.file.is_failing = is_failing

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(disturb)
            await programs.take_all(arrivals)
        return programs.granted

    granted = anyio.run(run)
    assert len(granted) == len(arrivals)
    for program in (0, 1):
        times = [at for at, name in granted if name == program]
        assert all(later - earlier > 60.0 for earlier, later in zip(times, times[limit:], strict=False))


async def test_one_who_comes_while_another_asks_takes_his_place_and_stops_no_one() -> None:
    """The answer was meant for one, and a more urgent one has come meanwhile."""
    programs = Programs(1, 1)
    granted = await programs.take_all([(0.0, 0, Priority.POLL), (0.0, 0, Priority.START), (0.0, 0, Priority.POLL)])
    assert [at for at, _ in granted] == [0.0, SPAN, 2 * SPAN]


async def test_two_programs_share_a_window_and_lose_none_of_it() -> None:
    """As much as the limit goes out at once, and again as soon as the window has slid."""
    programs = Programs(2, 10)
    granted = await programs.take_all([(0.0, n % 2, Priority.POLL) for n in range(30)])
    assert [at for at, _ in granted] == [0.0] * 10 + [SPAN] * 10 + [2 * SPAN] * 10


async def test_equals_of_different_programs_take_turns() -> None:
    """Five hundred runs of one program do not stand before the one of another."""
    programs = Programs(3, 8)
    arrivals = [*[(0.0, 0, Priority.POLL)] * 40, *[(1.0, 1, Priority.POLL)] * 3, *[(1.5, 2, Priority.POLL)] * 3]
    granted = await programs.take_all(arrivals)
    assert sorted(program for at, program in granted if at < 2 * SPAN) == [0] * 10 + [1] * 3 + [2] * 3


async def test_the_urgent_of_one_program_go_before_the_others_of_another() -> None:
    """A start in one window of the person's goes before a batch in another."""
    programs = Programs(2, 4)
    arrivals = [*[(0.0, 0, Priority.POLL)] * 12, *[(1.0, 1, Priority.START)] * 3]
    granted = await programs.take_all(arrivals)
    assert sorted(program for at, program in granted if 0.0 < at < 2 * SPAN) == [0, 1, 1, 1]


async def test_who_waited_and_died_holds_up_the_others_for_a_nap_at_most() -> None:
    """No one takes it off the record."""
    programs = Programs(2, 1)
    await programs.take((0.0, 0, Priority.POLL))
    dead = Waiter("dead", Priority.START, 1, 0.0, SPAN + 1.0)
    programs.file.texts[KEY] = dump_record(AccountRecord("boot", 0.0, 0.0, (Counted(SPAN, 1),), waiting=(dead,)))
    await programs.take((1.0, 1, Priority.POLL))
    assert programs.granted[1] == (SPAN + 1.0, 1)


async def test_one_who_leaves_holds_up_no_one() -> None:
    """His client cancelled the call; the place that he had is free at once."""
    programs = Programs(2, 1)
    await programs.take((0.0, 0, Priority.POLL))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(programs.take, (1.0, 1, Priority.POLL))
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(programs.take, (2.0, 0, Priority.START))
            await programs.clock.sleep(59.0)
            leaving.cancel_scope.cancel()
    assert programs.granted[1:] == [(SPAN, 1)]
    assert parse_record(programs.file.texts[KEY]).waiting == ()


async def test_one_who_leaves_while_the_file_fails_leaves_nothing_behind() -> None:
    """No process is left to report to."""
    programs = Programs(1, 2)
    programs.file.is_failing = True
    await programs.take((0.0, 0, Priority.POLL))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(programs.take, (1.0, 0, Priority.POLL))
        await programs.clock.sleep(2.0)
        tasks.cancel_scope.cancel()
    assert (programs.granted, programs.file.texts) == ([(0.0, 0)], {})


async def test_what_a_dead_program_took_runs_out_with_the_window() -> None:
    """Nothing of it must be given back."""
    programs = Programs(1, 4)
    for _ in range(4):
        await programs.open(4, name="dead").take(Priority.START)
    await programs.take((0.0, 0, Priority.START))
    assert programs.granted == [(SPAN, 0)]


async def test_a_file_in_trouble_leaves_each_program_half_of_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    """What was sent meanwhile is counted for all when the file is back; the trouble is reported once."""
    programs = Programs(2, 10)
    await programs.take((0.0, 0, Priority.POLL))
    programs.file.is_failing = True
    granted = await programs.take_all([(1.0, n % 2, Priority.POLL) for n in range(10)])
    assert sorted(program for at, program in granted[1:] if at == 1.0) == [0] * 4 + [1] * 5
    assert not (await programs.limiters[0].get_status()).is_shared
    programs.limiters[0].note_busy(1.0)
    programs.file.is_failing = False
    await programs.clock.sleep(2 * programs.file.retry_seconds)
    await programs.take((0.0, 0, Priority.POLL))
    view = await programs.limiters[0].get_status()
    assert (view.is_shared, view.used, view.limit) == (True, 2, 10)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "the request limit cannot be shared with other programs for now, so a part of it is used (1/2)",
    ] * 2 + ["the request limit is shared with other programs again"]


async def test_the_balance_reports_of_this_program_when_the_file_fails() -> None:
    """It is all that is known then."""
    programs = Programs(1, 10)
    await programs.take((0.0, 0, Priority.POLL))
    programs.file.is_failing = True
    assert await programs.limiters[0].get_status() == LimiterStatus(
        1, 10, 10, is_learned=False, refused_above=0, paused_seconds=0.0, day_left=None, is_shared=False
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "[1, 2",
        dump_record(AccountRecord("another boot", 5.0, 5.0, (Counted(99.0, 10),))),
        dump_record(AccountRecord("boot", 500.0, 500.0, (Counted(550.0, 10),))),
    ],
)
async def test_what_cannot_be_read_or_is_of_an_earlier_boot_is_void(text: str) -> None:
    """An instant of an earlier boot says nothing of now."""
    programs = Programs(1, 10)
    programs.file.texts[KEY] = text
    await programs.take((0.0, 0, Priority.POLL))
    assert programs.granted == [(0.0, 0)]
    assert parse_record(programs.file.texts[KEY]).used == 1


def test_a_record_is_read_as_it_was_written() -> None:
    """Every field of it."""
    record = AccountRecord(
        "boot", 1.5, 1.25, (Counted(2.0, 3),), (Counted(9.0, 4),), (Waiter("p", 1, 2, 0.5, 3.0),), 4.0, 5.0,
        LearnedLimit(6, (Mark(7.0, 8),), 9, 10.0, 11.0, 12.0, 13, 14, 15.0, 17.0, 18.0, 19.0, 20.0), 8.0, 9.0, 10.0, 11.0, Quota(1, 2.0, 3.0), Quota(4, 5.0, 6.0),
    )  # fmt: skip
    assert parse_record(dump_record(record)) == record


async def test_a_large_limit_keeps_a_small_record() -> None:
    """Ten thousand a minute are asked to a tenth of a second."""
    programs = Programs(1, 10_000)
    await programs.take_all([(n / 100, 0, Priority.POLL) for n in range(1000)])
    record = parse_record(programs.file.texts[KEY])
    assert (record.used, len(record.grants) <= 101) == (1000, True)


async def test_without_a_limit_nothing_is_read_or_written() -> None:
    """The sandbox has none, and hundreds of runs there must cost nothing."""
    programs = Programs(1, 0)
    await programs.take_all([(0.0, 0, Priority.POLL)] * 9)
    programs.limiters[0].note_busy(2.0)
    programs.limiters[0].note_limits(RateLimits(0, reset_seconds=5.0))
    assert await programs.limiters[0].get_status() == LimiterStatus(
        9, 0, 0, is_learned=False, refused_above=0, paused_seconds=2.0, day_left=None, is_shared=False
    )
    assert programs.file.changes == 0


def test_where_there_is_not_a_boot_clock_the_monotonic_one_reports_the_time() -> None:
    """It begins again with the machine too."""

    class Bootless(FakeClock):
        """The clock of a system without one."""

        def boot_time(self) -> BootTime | None:
            """Return nothing."""
            return None

    clock = Bootless()
    clock.advance(7.0)
    assert (get_time(clock), get_time(FakeClock())) == (("", 7.0), ("boot", 0.0))
