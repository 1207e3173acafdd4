"""How long a run may take, by those of before."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.runs.durations import Forecast, Observation, fit_forecast

SECONDS = st.floats(0.01, 100_000)
SPANS = st.lists(st.tuples(SECONDS, SECONDS).map(lambda pair: Observation(min(pair), max(pair))), max_size=30)


def draw(count: int) -> list[float]:
    """Return durations of an app whose median is a minute."""
    chance = random.Random(7)
    return [60.0 * math.exp(0.5 * chance.gauss(0.0, 1.0)) for _ in range(count)]


def test_without_a_history_a_run_takes_what_apps_take() -> None:
    """Ten seconds to five minutes, as Magnific says of its flows."""
    forecast = fit_forecast([])
    assert forecast == Forecast()
    assert forecast.get_end_chance(0.0, 10.0) < 0.05
    assert forecast.get_end_chance(0.0, 300.0) > 0.95


def test_a_history_decides() -> None:
    """Many runs tell the median within a tenth, and how far they scatter."""
    forecast = fit_forecast([Observation(one, one) for one in draw(400)])
    assert math.exp(forecast.log_seconds) == pytest.approx(60.0, rel=0.1)
    assert forecast.sigma == pytest.approx(0.5, rel=0.15)


def test_looking_seldom_does_not_make_an_app_slower() -> None:
    """A batch looks once a minute: taking each look for the end would add half a minute, and the next looks come later."""
    seldom = fit_forecast([Observation(one // 60 * 60, one // 60 * 60 + 60) for one in draw(200)])
    often = fit_forecast([Observation(one, one) for one in draw(200)])
    assert math.exp(seldom.log_seconds) == pytest.approx(math.exp(often.log_seconds), rel=0.1)


@given(spans=SPANS, moments=st.lists(st.floats(0, 1e7), min_size=3, max_size=3).map(sorted))
@settings(deadline=None, max_examples=200)
def test_whatever_was_seen_chances_are_chances(spans: list[Observation], moments: list[float]) -> None:
    """A clock that jumps or a provider that lies must not make nonsense of the schedule."""
    forecast = fit_forecast(spans)
    begin, middle, end = moments
    sooner, later = forecast.get_end_chance(begin, middle), forecast.get_end_chance(begin, end)
    assert 0.0 <= sooner <= later <= 1.0
    assert 0.0 < forecast.strain < math.inf


def test_the_far_tail_goes_on_without_a_step() -> None:
    """A run that takes a hundred times as long as any other still gets its looks."""
    forecast = Forecast(0.0, 0.1)
    at = math.exp(30 * 0.1)
    assert forecast.get_hazard(at * 1.0001) == pytest.approx(forecast.get_hazard(at * 0.9999), rel=1e-2)
    assert forecast.get_hazard(at * 10) > forecast.get_hazard(at)
