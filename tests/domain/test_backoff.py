"""The pauses between tries that fail."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.domain.backoff import Backoff

POLL = Backoff(2.0, 2.0, 10.0)
DOWNLOAD = Backoff(300.0, 1.0, steps=(1.0, 3.0, 10.0, 30.0, 60.0))


@pytest.mark.parametrize(
    ("backoff", "pauses"),
    [
        (POLL, [2, 4, 8, 10, 10]),
        (DOWNLOAD, [1, 3, 10, 30, 60, 300, 300]),
        (Backoff(1.0, 1.0, tries=3), [1, 1, None, None]),
        (Backoff(5.0, tries=1), [None, None]),
        (Backoff(0.5, steps=(9.0,), tries=4), [9, 0.5, 1, None]),
    ],
)
def test_the_pauses_grow_to_their_longest_and_end_with_the_tries(backoff: Backoff, pauses: list[float | None]) -> None:
    """After the first failure, the second, and so on."""
    assert [backoff.get_pause(n) for n in range(1, len(pauses) + 1)] == pauses


@given(failures=st.integers(1, 10**9), factor=st.floats(1.0, 10.0))
def test_no_count_of_failures_breaks_it(failures: int, factor: float) -> None:
    """A laptop that sleeps for a week fails thousands of times."""
    pause = Backoff(2.0, factor, 60.0).get_pause(failures)
    assert pause is not None
    assert 2.0 <= pause <= 60.0


def test_without_a_longest_pause_it_stays_a_number() -> None:
    """However often it failed."""
    assert Backoff(1.0).get_pause(5000) == math.inf
