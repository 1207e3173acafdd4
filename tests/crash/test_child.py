"""The conditions of a crash test, and a process that serves under them."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowport.bootstrap import open_assembly
from flowport.runs.steps import Pace
from flowport.runtime.failpoints import Failpoint
from flowport.settings.settings import load_settings
from tests.crash.child import VARIABLE, Conditions, parse_conditions
from tests.support import traps
from tests.support.children import CONDITIONS
from tests.support.traps import Trap

AFTER_REPLY = Conditions(Failpoint.AFTER_REPLY)
PARSED = [
    ("", Conditions()),
    (" ", Conditions()),
    ("kill=after_reply", AFTER_REPLY),
    ("halt=after_reply:3", Conditions(Failpoint.AFTER_REPLY, 3, "SIGSTOP")),
    ("clock=-86400 pace=0.1", Conditions(clock_shift_seconds=-86_400.0, pace_seconds=0.1)),
    ("rate=20", Conditions(rate=20.0)),
    ("pace=0.1 kill=after_reply", Conditions(Failpoint.AFTER_REPLY, pace_seconds=0.1)),
]


@pytest.fixture(autouse=True)
def _remove_failpoints() -> Iterator[None]:
    yield
    traps.clear_traps()


@pytest.mark.parametrize(("text", "conditions"), PARSED, ids=[row[0] or "nothing" for row in PARSED])
def test_each_part_is_optional(text: str, conditions: Conditions) -> None:
    """Each part is optional: most trials use one of them."""
    assert parse_conditions(text) == conditions


MISSPELT = ["kill=somewhere", "kill=after_reply:soon", "clock=late", "explode=now", "kill"]
ENDLESS = ["rate=0", "rate=-2", "rate=inf", "rate=nan", "rate=fast"]


@pytest.mark.parametrize("text", [*MISSPELT, *ENDLESS])
def test_unknown_parts_are_refused(text: str) -> None:
    """A misspelt condition is refused, because its trial would pass without a fault."""
    with pytest.raises(ValueError, match="holds") as caught:
        parse_conditions(text)

    assert str(caught.value) == f"{VARIABLE} holds {text!r}"


def test_the_failpoint_is_set_at_the_start() -> None:
    """The failpoint is active from the start of the process."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such signals and limits")
    Conditions(Failpoint.AFTER_REPLY, 3, "SIGSTOP").begin()

    assert traps._traps == [Trap(Failpoint.AFTER_REPLY, signal.SIGSTOP, 3)]


def test_conditions_without_a_point_set_no_failpoint() -> None:
    """A wrong clock is tried without a kill."""
    Conditions(clock_shift_seconds=60.0).begin()

    assert traps._traps == []


def test_a_pace_applies_from_the_first_poll() -> None:
    """Otherwise every trial would wait seconds for its first poll."""
    assert (Conditions().pace, Conditions(pace_seconds=0.1).pace) == (None, Pace(0.1, 0.1))


async def test_the_process_uses_the_clock_of_the_conditions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole process uses the wrong, fast clock, which the crash tests and the benchmarks rely on."""
    for name, folder in (("FLOWPORT_HOME", "home"), ("FLOWPORT_OUTPUT_DIR", "outputs")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    conditions = parse_conditions("clock=86400 rate=20")
    async with open_assembly(load_settings({}, os.environ), clock=conditions.clock, pace=conditions.pace) as assembly:
        clock, right = assembly.workspace.clock, time.monotonic()
        assert clock.now() == pytest.approx(time.time() + 86_400.0, abs=600.0)
        assert clock.monotonic() == pytest.approx(20.0 * right, abs=600.0)


def test_the_helpers_of_processes_name_the_same_variable() -> None:
    """A condition under another name would be ignored, and the trial would count as passed."""
    assert CONDITIONS == VARIABLE
