"""The points at which a process can be killed on purpose, and that a normal start passes them all."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flowport.runtime.failpoints import Failpoint, trigger
from tests.support.children import ROOT
from tests.support.traps import Trap, clear_traps, set_trap

KILLED = """
import signal
from flowport.runtime.failpoints import *
from tests.support.traps import *
set_trap(Trap(Failpoint.AFTER_STARTING, signal.SIGKILL, 2))
trigger(Failpoint.AFTER_STARTING)
trigger(Failpoint.AFTER_REPLY)
print("alive", flush=True)
trigger(Failpoint.AFTER_STARTING)
print("still alive", flush=True)
"""


@pytest.fixture
def sent() -> Iterator[list[tuple[int, int]]]:
    """Collect the signals that traps would send."""
    collected: list[tuple[int, int]] = []
    yield collected
    clear_traps()


def test_a_point_without_a_trap_is_passed() -> None:
    """This is what every normal start does, some ten times for each run."""
    for point in Failpoint:
        trigger(point)


def test_a_trap_closes_once_at_the_chosen_reaching_of_its_own_point(sent: list[tuple[int, int]]) -> None:
    """The second look of a run leaves other things behind than the first."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such signals and limits")
    set_trap(Trap(Failpoint.WHILE_FOLLOWING, signal.SIGSTOP, 2, lambda *signal_: sent.append(signal_)))
    set_trap(Trap(Failpoint.AFTER_REPLY, signal.SIGKILL, 1, lambda *signal_: sent.append(signal_)))

    for point in [Failpoint.WHILE_FOLLOWING, Failpoint.AFTER_STARTING, *[Failpoint.WHILE_FOLLOWING] * 3]:
        trigger(point)

    assert sent == [(os.getpid(), signal.SIGSTOP)]


def test_a_process_is_really_killed_there() -> None:
    """No handler and no clean-up may run: a power cut runs none."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such signals and limits")
    ended = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False, cwd=ROOT)

    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "alive\n")
