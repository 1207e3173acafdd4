"""When a run is polled, and which one."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.runs.steps import (
    FAILED_POLL,
    LIVE_ROWS_UNLIMITED,
    MAX_LIVE_ROWS,
    MIN_LIVE_ROWS,
    ROW,
    WAITED,
    Pace,
    PollReason,
    PollState,
    choose_companions,
    choose_run,
    get_gap_seconds,
    get_max_live_rows,
    get_next_pause,
    note_failure,
    note_poll,
)

NOW = 10_000.0
RARE = 1e9


@st.composite
def live_runs(draw: st.DrawFn) -> PollState:
    """Return a run in any condition."""
    started = NOW - draw(st.floats(0.0, 5_000.0))
    seen = started + draw(st.floats(0.0, 1.0)) * (NOW - started)
    asked = seen + draw(st.floats(0.0, 1.0)) * (NOW - seen)
    usual_seconds = draw(st.floats(1.0, 3_000.0))
    return PollState(started, seen, asked, is_waited=draw(st.booleans()), usual_seconds=usual_seconds)


def build_run(age: float, *, unseen: float | None = None, is_waited: bool = True) -> PollState:
    """Return a run of an app that takes a minute, by the seconds since its start and since its last poll."""
    seen = NOW - (age if unseen is None else unseen)
    return PollState(NOW - age, seen, seen, is_waited=is_waited, usual_seconds=60.0)


@pytest.mark.parametrize(
    ("polls", "failures", "pause"),
    [(0, 0, 2.5), (1, 0, 4.0), (1, 1, 2.0), (2, 2, 4.0), (3, 3, 8.0), (9, 4, 10.0), (9, 10_000, 10.0)],
)
def test_the_pause_is_the_documented_one_and_grows_with_failures(polls: int, failures: int, pause: float) -> None:
    """Two and a half seconds, then four (get-run); at most ten while a caller waits."""
    assert get_next_pause(Pace(), polls=polls, failures=failures) == pause


@pytest.mark.parametrize(("failures", "pause"), [(1, 2.0), (3, 8.0), (4, 16.0), (6, 60.0), (10_000, 60.0)])
def test_a_failing_run_without_a_caller_is_polled_less(failures: int, pause: float) -> None:
    """A provider that is down must not receive the polls of hundreds of rows."""
    assert get_next_pause(Pace(), polls=9, failures=failures, is_waited=False) == pause


@given(polls=st.integers(0, 10**6), failures=st.integers(0, 10**6), crowd=st.integers(1, 1000), chance=st.floats(0, 1))
@settings(deadline=None, max_examples=200)
def test_no_count_leads_to_a_pause_out_of_bounds(polls: int, failures: int, crowd: int, chance: float) -> None:
    """A run that is polled too often, or never again, breaks a promise; a night offline fails a thousand times."""
    for is_waited in (True, False):
        pause = get_next_pause(Pace(), polls=polls, failures=failures, crowd=crowd, chance=chance, is_waited=is_waited)
        assert 2.0 <= pause <= FAILED_POLL[False].longest_seconds + 5.0


@pytest.mark.parametrize(
    ("crowd", "chance", "pause"), [(1, 1.0, 4.0), (501, 0.0, 4.0), (501, 0.5, 5.25), (501, 1.0, 6.5)]
)
def test_runs_that_were_started_together_are_not_polled_together(crowd: int, chance: float, pause: float) -> None:
    """Five hundred polls due at one instant would block a tool list for as long as they take."""
    assert get_next_pause(Pace(), polls=1, failures=0, crowd=crowd, chance=chance) == pause


@pytest.mark.parametrize(
    ("runs", "limit", "in_one", "seconds"),
    [(3, 50, 1, 0.0), (10, 50, 1, 40 / 3), (10, 50, 4, 0.0), (60, 50, 1, 80.0), (60, 500, 1, 8.0)],
)
def test_all_runs_together_are_polled_as_often_as_the_limit_allows(
    runs: int, limit: int, in_one: int, seconds: float
) -> None:
    """Three runs every four seconds are 45 requests a minute, nine tenths of fifty; bulk status counts as several."""
    assert get_gap_seconds(runs, Pace(), limit=limit, polls_in_one=in_one) == pytest.approx(seconds)


@given(runs=st.lists(live_runs(), min_size=1, max_size=3))
@settings(deadline=None, max_examples=100)
def test_without_load_every_run_is_polled_at_its_pace(runs: list[PollState]) -> None:
    """Its age and its app do not matter."""
    for reason in (PollReason.WAITED, PollReason.ROW):
        due = [run for run in runs if run.is_waited is (reason is PollReason.WAITED)]
        assert (choose_run(runs, reason, 0.0, NOW) is not None) == bool(due)


@given(
    runs=st.lists(live_runs(), max_size=40),
    reason=st.sampled_from(PollReason),
    gap=st.floats(0.0, 300.0),
)
@settings(deadline=None, max_examples=200)
def test_a_choice_is_one_of_those_it_is_for(runs: list[PollState], reason: PollReason, gap: float) -> None:
    """A row never gets the request that was taken for a waiting caller, and only a due row goes before a start."""
    n = choose_run(runs, reason, math.inf if reason is PollReason.DUE_ROW else gap, NOW)
    assert n is None or runs[n].is_waited is (reason is PollReason.WAITED)
    assert n is None or reason is not PollReason.DUE_ROW or runs[n].due_at <= NOW


@given(runs=st.lists(live_runs(), min_size=1, max_size=40))
@settings(deadline=None, max_examples=200)
def test_no_run_is_starved(runs: list[PollState]) -> None:
    """Polling in the order of the choices, with one request at a time, reaches every run."""
    now, left = NOW + 1.4 * 3_000.0, set(range(len(runs)))
    for _ in range(2 * len(runs)):
        now += ROW.longest_seconds
        for reason in (PollReason.WAITED, PollReason.ROW):
            n = choose_run(runs, reason, RARE, now)
            if n is not None:
                left.discard(n)
                runs[n] = note_poll(runs[n], now)
    assert left == set()


@given(run=live_runs())
@settings(deadline=None, max_examples=200)
def test_no_gap_is_longer_than_its_limit(run: PollState) -> None:
    """A run that takes an hour, where others take a minute, is still polled."""
    step = WAITED if run.is_waited else ROW
    first_at = run.started_at + step.first * run.usual_seconds
    assert run.seen_at <= run.due_at <= max(first_at, run.seen_at + step.longest_seconds)


@pytest.mark.parametrize(
    ("age", "unseen", "is_waited", "due_in"),
    [
        (5.0, None, True, 19.0),
        (5.0, None, False, 76.0),
        (64.0, 0.0, True, 9.0),
        (90.0, 0.0, False, 24.0),
        (90.0, 30.0, False, -6.0),
        (9_000.0, 0.0, True, 9.0),
        (9_000.0, 0.0, False, 24.0),
    ],
)
def test_under_load_a_run_is_first_polled_when_it_may_be_over_and_then_in_gaps(
    age: float, unseen: float | None, is_waited: bool, due_in: float
) -> None:
    """A run of an app that takes a minute is not over after five seconds."""
    run = build_run(age, unseen=unseen, is_waited=is_waited)
    assert run.due_at - NOW == pytest.approx(due_in)


def test_under_load_the_run_that_is_due_for_longest_goes_first() -> None:
    """So every one has its turn."""
    runs = [build_run(age, is_waited=False) for age in (5.0, 90.0, 110.0, 60.0)]
    for reason in (PollReason.DUE_ROW, PollReason.ROW):
        assert choose_run(runs, reason, RARE, NOW) == 2
        assert choose_run(runs[:1], reason, RARE, NOW) is None
    assert choose_run(runs, PollReason.WAITED, RARE, NOW) is None
    assert choose_run(runs[:1], PollReason.ROW, 4.0, NOW) == 0
    assert choose_run([], PollReason.ROW, RARE, NOW) is None


def test_a_poll_that_failed_says_nothing_about_the_run() -> None:
    """It stays due, from when it was last seen."""
    run = build_run(50.0)
    failed = note_failure(run, NOW)
    assert (failed.polls, failed.failures, failed.asked_at, failed.due_at) == (1, 1, NOW, run.due_at)
    seen = note_poll(failed, NOW + 4.0)
    assert (seen.polls, seen.failures, seen.asked_at, seen.seen_at) == (2, 0, NOW + 4.0, NOW + 4.0)


def test_a_bulk_request_includes_waited_for_runs_and_then_those_due_for_longest() -> None:
    """There may be more runs than one request can name."""
    runs = [build_run(age, is_waited=is_waited) for age, is_waited in ((30.0, False), (90.0, False), (20.0, True))]
    assert choose_companions(runs, 2) == [2, 1]
    assert sorted(choose_companions(runs, 9)) == [0, 1, 2]
    assert choose_companions([], 9) == choose_companions(runs, 0) == []


@pytest.mark.parametrize(
    ("limit", "rows"), [(0, LIVE_ROWS_UNLIMITED), (1, MIN_LIVE_ROWS), (50, 200), (300, MAX_LIVE_ROWS)]
)
def test_as_many_rows_are_live_as_the_limit_can_poll(limit: int, rows: int) -> None:
    """Fewer would leave requests unused while rows wait to be started."""
    assert get_max_live_rows(limit) == rows


def test_an_app_that_becomes_known_changes_when_a_run_is_due() -> None:
    """Its first runs are polled by what apps usually take."""
    run = build_run(5.0, is_waited=False)
    assert replace(run, usual_seconds=10.0).due_at < run.due_at
