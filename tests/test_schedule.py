"""When to look at a run."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.schedule import MAX_PAUSE_SECONDS, Pace, get_next_pause


@pytest.mark.parametrize(
    ("looks", "failures", "live_runs", "pause"),
    [
        (0, 0, 1, 2.5),
        (1, 0, 1, 4.0),
        (1, 1, 1, 8.0),
        (3, 3, 1, 32.0),
        (9, 4, 1, 60.0),
        (9, 10_000, 1, 60.0),
        (0, 0, 2, 3.0),
        (1, 0, 3, 4.5),
        (1, 0, 100, 150.0),
        (1, 1, 100, 150.0),
    ],
)
def test_the_pause_grows_with_failures_and_with_company(
    looks: int, failures: int, live_runs: int, pause: float
) -> None:
    """Two and a half seconds, then four (get-run); forty looks a minute are shared by all runs."""
    pace = Pace(looks_per_minute=40)
    assert get_next_pause(pace, looks=looks, failures=failures, live_runs=live_runs) == pause


def test_without_a_budget_company_costs_nothing() -> None:
    """A provider without a limit is asked about every run at its own pace."""
    assert get_next_pause(Pace(), looks=1, failures=0, live_runs=500) == 4.0


@given(
    looks=st.integers(0, 10**6),
    failures=st.integers(0, 10**6),
    live_runs=st.integers(1, 1000),
    share=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=200)
def test_no_count_leads_to_a_pause_out_of_bounds(looks: int, failures: int, live_runs: int, share: int) -> None:
    """A run that is looked at too often, or never again, breaks a promise; a night offline fails a thousand times."""
    pause = get_next_pause(Pace(looks_per_minute=share), looks=looks, failures=failures, live_runs=live_runs)
    fair = 60.0 * live_runs / share if share else 0.0
    assert max(2.5, fair) <= pause <= max(MAX_PAUSE_SECONDS, fair)


@pytest.mark.parametrize(
    ("live_runs", "chance", "pause"), [(1, 1.0, 4.0), (501, 0.0, 4.0), (501, 0.5, 5.25), (501, 1.0, 6.5)]
)
def test_runs_that_were_started_together_are_not_looked_at_together(
    live_runs: int, chance: float, pause: float
) -> None:
    """Five hundred looks due in one moment would hold up a tool list for as long as they take."""
    assert get_next_pause(Pace(), looks=1, failures=0, live_runs=live_runs, chance=chance) == pause
