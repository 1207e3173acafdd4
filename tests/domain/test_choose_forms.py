"""What is shown of many things when there is little room."""

from hypothesis import given
from hypothesis import strategies as st

from flowport.domain.text import choose_forms, count_bytes

SIZES = st.lists(st.lists(st.integers(1, 50), min_size=3, max_size=3).map(sorted), max_size=12)


def test_more_things_are_worth_more_than_fuller_ones() -> None:
    """A user who does not know of a fifth picture never asks for it."""
    assert choose_forms([[1, 5, 9]] * 4, 12) == [1, 1, 0, 0]


def test_with_room_for_all_everything_is_whole() -> None:
    """Shortening is for lack of room alone."""
    assert choose_forms([[1, 5, 9]] * 4, 36) == [2, 2, 2, 2]
    assert choose_forms([], 0) == []


@given(SIZES, st.integers(0, 300))
def test_what_is_chosen_fits_and_nothing_in_the_middle_is_missing(sizes: list[list[int]], budget: int) -> None:
    """The outputs that are shown are the first ones, and one more would have been too many."""
    chosen = choose_forms(sizes, budget)

    assert sum(sizes[place][form] for place, form in enumerate(chosen)) <= budget
    briefest = [forms[0] for forms in sizes]
    assert len(chosen) == len(sizes) or sum(briefest[: len(chosen) + 1]) > budget


@given(st.text())
def test_bytes_are_counted_as_they_go_over_the_wire(text: str) -> None:
    """Escapes and letters beyond ASCII take more than one byte each."""
    assert count_bytes(text) >= len(text) + 2
