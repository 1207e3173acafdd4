"""The turns that threads take of the interpreter."""

import sys
from collections.abc import Iterator

import pytest

from flowport.store.sqlite.thread_switching import HURRIED_SECONDS, hurrying


@pytest.fixture(autouse=True)
def _keep_the_setting() -> Iterator[None]:
    """Leave the interpreter as it was."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def test_turns_are_short_while_anybody_is_in_a_hurry_and_as_before_afterwards() -> None:
    """Two requests may wait for the store at once, and one of them in vain."""
    sys.setswitchinterval(0.002)
    with hurrying():
        with pytest.raises(KeyError), hurrying():
            raise KeyError
        assert sys.getswitchinterval() == pytest.approx(HURRIED_SECONDS)
    assert sys.getswitchinterval() == pytest.approx(0.002)


def test_turns_that_are_shorter_already_stay_so() -> None:
    """Whoever embeds us may have a reason."""
    sys.setswitchinterval(HURRIED_SECONDS / 10)
    with hurrying():
        assert sys.getswitchinterval() == pytest.approx(HURRIED_SECONDS / 10)
