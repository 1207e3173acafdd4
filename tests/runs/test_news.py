"""What a process of a team says of its runs, and what it knows of those of others."""

import gc
from collections.abc import Callable
from typing import NoReturn

import anyio
import anyio.lowlevel
import pytest

from flowport.domain.models import RunState
from flowport.runs.live import LiveRuns
from flowport.runs.news import (
    LOOK_SECONDS,
    MAX_AGE_SECONDS,
    MAX_PROBLEM_CHARACTERS,
    QUIET_LOOK_SECONDS,
    QUIET_SECONDS,
    REPEAT_SECONDS,
    RunNews,
)
from flowport.runtime.background import Supervisor
from flowport.store.cluster import News, NewsKind
from tests.store.samples import build_run
from tests.support.fake_clock import FakeClock

RUN = build_run("run_1", RunState.RUNNING, provider_run_id="r1")
ROW = build_run("run_2", RunState.ACCEPTED, batch_id="batch_1")


class Channel:
    """A feed that keeps what is posted."""

    is_connected = True

    def __init__(self) -> None:
        self.posted: list[News] = []

    def subscribe(self, listener: Callable[[News], None]) -> None:
        """Call none."""

    async def post(self, news: News) -> None:
        """Keep it."""
        self.posted.append(news)

    async def keep_listening(self) -> NoReturn:
        """Wait without end."""
        await anyio.sleep_forever()
        raise AssertionError


def build_problem(text: str, run_id: str = "run_1", batch_id: str = "") -> News:
    """Return what another process reports."""
    return News(NewsKind.TROUBLED, run_id, batch_id=batch_id, text=text)


async def report(*reports: tuple[float, str]) -> list[str]:
    """Report problems of a run at these seconds, and return what was sent."""
    channel, clock = Channel(), FakeClock(is_automatic=False)
    begun_at = clock.monotonic()
    async with Supervisor() as supervisor:
        news = RunNews(channel, supervisor, clock)
        for seconds, text in reports:
            clock.advance(seconds - clock.monotonic() + begun_at)
            news.report_problem(RUN, text)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
    return [one.text for one in channel.posted]


def test_an_event_lasts_as_long_as_its_waiters() -> None:
    """A server that runs for months keeps nothing of calls that are over."""
    news = RunNews()
    event = news.get_event("run_1")
    assert news.get_event("run_1") is event
    del event
    gc.collect()
    assert len(news._events) == 0


async def test_a_change_wakes_its_waiters_once() -> None:
    """Who waits again gets another event."""
    news = RunNews()
    before, other = news.get_event("run_1"), news.get_event("run_2")
    news.wake("run_1")
    after = news.get_event("run_1")
    assert (before.is_set(), after.is_set(), other.is_set()) == (True, False, False)
    news.wake_all()
    assert (after.is_set(), other.is_set()) == (True, True)


async def test_who_waits_for_an_end_is_not_woken_before() -> None:
    """A run has five records before its end, and hundreds of calls that show no progress would read each of them."""
    news = RunNews()
    change, end = news.get_event("run_1"), news.get_event("run_1", is_end_enough=True)
    news.wake("run_1", is_going_on=True)
    assert (change.is_set(), end.is_set()) == (True, False)
    news.wake("run_1")
    assert end.is_set()


async def test_the_end_of_an_accepted_run_is_not_missed_before_it_is_waited_for() -> None:
    """Its caller need not read the store first, unless the run is over by then; nothing is kept without other processes."""
    news = RunNews(Channel())
    for run_id in ("run_1", "run_2"):
        news.expect_end(run_id)
    news.wake("run_1", is_going_on=True)
    news.wake("run_2")
    end = news.take_expected_end("run_1")
    assert end is not None
    assert news.take_expected_end("run_1") is None
    assert news.take_expected_end("run_2") is None
    news.wake("run_1")
    assert end.is_set()
    alone = RunNews()
    alone.expect_end("run_1")
    assert alone.take_expected_end("run_1") is None


def test_the_store_is_looked_at_often_only_where_no_news_arrive() -> None:
    """Hundreds of callers may wait; without news, and once a run is over, each looks every second."""
    channel = Channel()
    news = RunNews(channel)
    over = build_run("run_1", RunState.SUCCEEDED)
    assert (news.get_look_seconds(RUN), news.get_look_seconds(over)) == (QUIET_LOOK_SECONDS, LOOK_SECONDS)
    channel.is_connected = False
    assert news.get_look_seconds(RUN) == LOOK_SECONDS
    assert RunNews().get_look_seconds(RUN) == LOOK_SECONDS


@pytest.mark.parametrize(
    ("reports", "sent"),
    [
        ([(0, "busy"), (1, "busy")], ["busy"]),
        ([(0, "busy"), (REPEAT_SECONDS, "busy")], ["busy", "busy"]),
        ([(0, "busy in 4 s"), (QUIET_SECONDS / 2, "busy in 3 s")], ["busy in 4 s"]),
        ([(0, "busy in 4 s"), (QUIET_SECONDS, "busy in 2 s")], ["busy in 4 s", "busy in 2 s"]),
        ([(0, "busy"), (0.1, "")], ["busy", ""]),
        ([(0, ""), (1, "")], []),
        ([(0, "b" * 5_000)], ["b" * MAX_PROBLEM_CHARACTERS]),
    ],
)
async def test_a_problem_is_reported_when_it_changes(reports: list[tuple[float, str]], sent: list[str]) -> None:
    """Hundreds of runs may fail again and again at once."""
    assert await report(*reports) == sent


async def test_a_problem_of_another_process_is_known_for_a_while() -> None:
    """Its worker may have died, and what is said must be true."""
    clock = FakeClock(is_automatic=False)
    news = RunNews(Channel(), None, clock)
    event = news.get_event("run_1")
    news.note_problem(build_problem("busy"))
    assert (news.get_problem("run_1"), event.is_set()) == ("busy", True)
    clock.advance(MAX_AGE_SECONDS)
    assert news.get_problem("run_1") == ""


async def test_a_problem_that_is_over_is_forgotten() -> None:
    """The row of a batch speaks for its batch."""
    news = RunNews(Channel(), None, FakeClock(is_automatic=False))
    news.note_problem(build_problem("busy", "run_2", "batch_1"))
    assert (news.get_problem("batch_1"), news.get_problem("run_2")) == ("busy", "")
    news.note_problem(build_problem("", "run_2", "batch_1"))
    assert news.get_problem("batch_1") == ""


async def test_a_row_that_was_sent_does_not_speak_for_its_batch() -> None:
    """The batch goes on although one of its rows cannot be read for a moment."""
    channel, clock = Channel(), FakeClock(is_automatic=False)
    async with Supervisor() as supervisor:
        live_runs = LiveRuns(news=RunNews(channel, supervisor, clock))
        sent = build_run("run_3", RunState.RUNNING, provider_run_id="r3", batch_id="batch_1")
        for row in (ROW, sent):
            live_runs.put(row, noted_at=0.0)
        live_runs.update(sent, problem="It could not be read.")
        live_runs.update(ROW, problem="No request is left today.")
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()

    assert [one.text for one in channel.posted] == ["No request is left today."]


async def test_without_a_team_nothing_is_said() -> None:
    """A home on one machine has no other process to inform."""
    news = RunNews()
    await news.send(NewsKind.CHANGED, RUN)
    news.post(NewsKind.CHANGED, RUN)
    news.report_problem(RUN, "busy")
    news.note_problem(build_problem("busy"))
    assert (news.is_shared, news.get_problem("run_1")) == (False, "")
