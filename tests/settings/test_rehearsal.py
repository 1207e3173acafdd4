"""What the variable of the tests may hold."""

import signal
import sys
from collections.abc import Iterator

import pytest

from flowport.domain.errors import ConfigurationError
from flowport.runtime import failpoints as faultpoints
from flowport.runtime.clock import Pace
from flowport.runtime.failpoints import Failpoint, Trap
from flowport.settings.rehearsal import Rehearsal, parse_rehearsal

AFTER_REPLY = Rehearsal(Failpoint.AFTER_REPLY)
PARSED = [
    ("", None),
    (" ", None),
    ("kill=after_reply", AFTER_REPLY),
    ("halt=after_reply:3", Rehearsal(Failpoint.AFTER_REPLY, 3, "SIGSTOP")),
    ("clock=-86400 pace=0.1", Rehearsal(clock_shift_seconds=-86_400.0, pace_seconds=0.1)),
    ("rate=20", Rehearsal(rate=20.0)),
    ("pace=0.1 kill=after_reply", Rehearsal(Failpoint.AFTER_REPLY, pace_seconds=0.1)),
]


@pytest.fixture(autouse=True)
def _remove_traps() -> Iterator[None]:
    yield
    faultpoints.clear_traps()


@pytest.mark.parametrize(("text", "rehearsal"), PARSED, ids=[row[0] or "nothing" for row in PARSED])
def test_each_part_may_stand_alone(text: str, rehearsal: Rehearsal | None) -> None:
    """Most trials want one of them."""
    assert parse_rehearsal(text) == rehearsal


MISSPELT = ["kill=somewhere", "kill=after_reply:soon", "clock=late", "explode=now", "kill"]
ENDLESS = ["rate=0", "rate=-2", "rate=inf", "rate=nan", "rate=fast"]


@pytest.mark.parametrize("text", [*MISSPELT, *ENDLESS])
def test_what_is_misspelt_is_refused(text: str) -> None:
    """A trial that does not happen would count as passed."""
    with pytest.raises(ConfigurationError) as caught:
        parse_rehearsal(text)

    assert (caught.value.setting, caught.value.problem) == ("FLOWPORT_TEST_REHEARSAL", f"holds {text!r}")


def test_a_rehearsal_begins_with_its_trap() -> None:
    """Only from then on can the process fall."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such signals and limits")
    Rehearsal(Failpoint.AFTER_REPLY, 3, "SIGSTOP").begin()

    assert faultpoints._traps == [Trap(Failpoint.AFTER_REPLY, signal.SIGSTOP, 3)]


def test_a_rehearsal_without_a_point_sets_no_trap() -> None:
    """A wrong clock is tried without a death."""
    Rehearsal(clock_shift_seconds=60.0).begin()

    assert faultpoints._traps == []


def test_a_pace_is_the_same_from_the_first_look_on() -> None:
    """Otherwise every trial would wait seconds for its first look."""
    assert (Rehearsal().pace, Rehearsal(pace_seconds=0.1).pace) == (None, Pace(0.1, 0.1))
