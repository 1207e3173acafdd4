"""When to look at a run, and at which."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.runs.durations import Forecast, Observation, fit_forecast
from flowport.runs.poll_schedule import (
    LONGEST_SECONDS,
    MAX_PAUSE_SECONDS,
    PollReason,
    PollState,
    Prices,
    choose_companions,
    choose_likeliest,
    choose_run,
    get_next_pause,
    get_prices,
    get_prices_of_many,
    note_failure,
    note_look,
)
from flowport.runtime.clock import Pace

KNOWN = fit_forecast([Observation(60.0, 60.0)] * 10 + [Observation(90.0, 90.0)] * 5 + [Observation(40.0, 40.0)] * 5)
FORECASTS = st.builds(Forecast, st.floats(0.0, 8.0), st.floats(0.15, 2.0))
LIMITS = st.integers(1, 200)


@st.composite
def live_runs(draw: st.DrawFn, now: float = 10_000.0) -> PollState:
    """Return a run in any condition."""
    started = now - draw(st.floats(0.0, 5_000.0))
    seen = started + draw(st.floats(0.0, 1.0)) * (now - started)
    asked = seen + draw(st.floats(0.0, 1.0)) * (now - seen)
    return PollState(started, seen, asked, is_waited=draw(st.booleans()), forecast=draw(FORECASTS))


def build_run(age: float, *, unseen: float | None = None, is_waited: bool = True, now: float = 1_000.0) -> PollState:
    """Return a run that began so long ago and was last seen so long ago."""
    seen = now - (age if unseen is None else unseen)
    return PollState(now - age, seen, seen, is_waited=is_waited, forecast=KNOWN)


@pytest.mark.parametrize(
    ("looks", "failures", "pause"),
    [(0, 0, 2.5), (1, 0, 4.0), (1, 1, 2.0), (2, 2, 4.0), (3, 3, 8.0), (9, 4, 10.0), (9, 10_000, 10.0)],
)
def test_the_pause_is_the_documented_one_and_grows_with_failures(looks: int, failures: int, pause: float) -> None:
    """Two and a half seconds, then four (get-run); ten at most while somebody waits."""
    assert get_next_pause(Pace(), looks=looks, failures=failures) == pause


@pytest.mark.parametrize(("failures", "pause"), [(1, 2.0), (3, 8.0), (4, 16.0), (6, 60.0), (10_000, 60.0)])
def test_a_failing_run_that_nobody_waits_for_is_looked_at_less(failures: int, pause: float) -> None:
    """A provider that is down must not be hammered by hundreds of rows."""
    assert get_next_pause(Pace(), looks=9, failures=failures, is_waited=False) == pause


@given(looks=st.integers(0, 10**6), failures=st.integers(0, 10**6), crowd=st.integers(1, 1000), chance=st.floats(0, 1))
@settings(deadline=None, max_examples=200)
def test_no_count_leads_to_a_pause_out_of_bounds(looks: int, failures: int, crowd: int, chance: float) -> None:
    """A run that is looked at too often, or never again, breaks a promise; a night offline fails a thousand times."""
    for is_waited in (True, False):
        pause = get_next_pause(Pace(), looks=looks, failures=failures, crowd=crowd, chance=chance, is_waited=is_waited)
        assert 2.0 <= pause <= MAX_PAUSE_SECONDS + 5.0


@pytest.mark.parametrize(
    ("crowd", "chance", "pause"), [(1, 1.0, 4.0), (501, 0.0, 4.0), (501, 0.5, 5.25), (501, 1.0, 6.5)]
)
def test_runs_that_were_started_together_are_not_looked_at_together(crowd: int, chance: float, pause: float) -> None:
    """Five hundred looks due in one moment would hold up a tool list for as long as they take."""
    assert get_next_pause(Pace(), looks=1, failures=0, crowd=crowd, chance=chance) == pause


@given(runs=st.lists(live_runs(), min_size=1, max_size=3))
@settings(deadline=None, max_examples=100)
def test_with_little_load_every_run_is_looked_at_in_its_pace(runs: list[PollState]) -> None:
    """Three runs every four seconds are 45 requests a minute; what they are like does not matter."""
    prices = get_prices(runs, Pace(), limit=50)
    assert prices == Prices()
    for poll_reason in (PollReason.WAITED, PollReason.LEFT):
        due = [run for run in runs if run.is_waited is (poll_reason is PollReason.WAITED)]
        assert (choose_run(runs, poll_reason, prices, 10_000.0) is not None) == bool(due)


@given(runs=st.lists(live_runs(), max_size=40), limit=LIMITS, poll_reason=st.sampled_from(PollReason))
@settings(deadline=None, max_examples=200)
def test_a_choice_is_one_of_those_it_is_for(runs: list[PollState], limit: int, poll_reason: PollReason) -> None:
    """A row never gets the request that was taken for somebody who waits."""
    n = choose_run(runs, poll_reason, get_prices(runs, Pace(), limit=limit), 10_000.0)
    assert n is None or runs[n].is_waited is (poll_reason is PollReason.WAITED)


@given(runs=st.lists(live_runs(), min_size=1, max_size=40), limit=LIMITS)
@settings(deadline=None, max_examples=200)
def test_no_run_is_starved(runs: list[PollState], limit: int) -> None:
    """Looking again and again in the order of the choices, with one request at a time, reaches every run in the end."""
    now, left = 10_000.0, set(range(len(runs)))
    for _ in range(2 * len(runs)):
        now += max(LONGEST_SECONDS.values())
        for poll_reason in PollReason:
            n = choose_run(runs, poll_reason, get_prices(runs, Pace(), limit=limit), now)
            if n is not None:
                left.discard(n)
                runs[n] = note_look(runs[n], now)
    assert left == set()


@given(count=st.integers(1, 300), limit=LIMITS, is_waited=st.booleans())
@settings(deadline=None, max_examples=100)
def test_the_price_grows_with_the_crowd(count: int, limit: int, is_waited: bool) -> None:
    """What is asked for is made to fit, so more runs are each looked at less often."""
    fewer, more = (
        get_prices([build_run(0.0, is_waited=is_waited)] * n, Pace(), limit=limit) for n in (count, count + 1)
    )
    assert (fewer.waited, fewer.left) <= (more.waited, more.left)


def test_a_batch_makes_the_looks_of_those_who_wait_dearer_and_no_more() -> None:
    """A hundred rows more or less must not make a person wait longer."""
    person = build_run(30.0)
    prices = [
        get_prices([person, *[build_run(0.0, is_waited=False)] * rows], Pace(), limit=50).waited
        for rows in (0, 64, 1_000)
    ]
    assert prices[0] == 0.0 < prices[1] == prices[2]


def test_under_load_the_likeliest_end_goes_first_and_a_fresh_run_waits() -> None:
    """A run of an app that takes a minute is not over after five seconds."""
    runs = [build_run(age, is_waited=False) for age in (5.0, 70.0, 95.0, 60.0)]
    dear = Prices(9.0, 9.0)
    assert choose_run(runs, PollReason.LEFT, dear, 1_000.0) == 2
    assert choose_run(runs[:1], PollReason.LEFT, dear, 1_000.0) is None
    assert choose_run(runs, PollReason.WAITED, dear, 1_000.0) is None
    assert (choose_likeliest(runs, 1_000.0), choose_likeliest([], 1_000.0)) == (2, None)


def test_only_rows_that_are_all_but_over_go_before_starts() -> None:
    """A look in vain would hold up a start, and what has merely gone unseen for long is likely to go on."""
    runs = [build_run(age, is_waited=False) for age in (70.0, 300.0, 200.0)]
    assert choose_run(runs, PollReason.OVER, Prices(), 1_000.0) == 1
    lost = build_run(3_600.0, unseen=LONGEST_SECONDS[False], is_waited=False)
    assert choose_run([runs[0], lost, build_run(300.0)], PollReason.OVER, Prices(), 1_000.0) is None


def test_what_went_unseen_for_too_long_goes_before_every_chance() -> None:
    """One that takes an hour, where others take a minute, must not be forgotten."""
    lost = build_run(3_600.0, unseen=LONGEST_SECONDS[False], is_waited=False)
    likely = build_run(110.0, is_waited=False)
    assert choose_run([likely, lost], PollReason.LEFT, Prices(0.0, 9.0), 1_000.0) == 1


def test_a_look_that_failed_tells_nothing_of_the_run() -> None:
    """Its chance to have ended goes on growing from when it was last seen."""
    run = build_run(50.0)
    failed = note_failure(run, 1_000.0)
    assert (failed.looks, failed.failures, failed.asked_at, failed.seen_at) == (1, 1, 1_000.0, run.seen_at)
    seen = note_look(failed, 1_004.0)
    assert (seen.looks, seen.failures, seen.asked_at, seen.seen_at) == (2, 0, 1_004.0, 1_004.0)


def test_who_is_waited_for_goes_along_first_and_then_the_likeliest_to_have_ended() -> None:
    """There may be more runs than one request can name."""
    runs = [build_run(age, is_waited=is_waited) for age, is_waited in ((30.0, False), (90.0, False), (20.0, True))]
    assert choose_companions(runs, 1_000.0, 2) == [2, 1]
    assert sorted(choose_companions(runs, 1_000.0, 9)) == [0, 1, 2]
    assert choose_companions([], 1_000.0, 9) == choose_companions(runs, 1_000.0, 0) == []


@given(st.lists(live_runs(), max_size=100), LIMITS)
@settings(deadline=None, max_examples=100)
def test_where_one_request_tells_of_several_no_look_has_to_be_worth_more(runs: list[PollState], limit: int) -> None:
    """And rows leave to starts what they save."""
    alone, together = get_prices(runs, Pace(), limit=limit), get_prices_of_many(runs, Pace(), limit=limit)
    assert together.left == alone.left
    assert together.waited <= alone.waited
