"""Traps at failpoints: a signal to this process, or a call, when a point is reached the nth time."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from flowport.runtime.failpoints import Failpoint, install_hook


@dataclass(slots=True)
class Trap:
    """What happens when a point is reached so many times."""

    point: Failpoint
    signal_number: int
    """What the process sends itself."""
    passes: int = 1
    """How often the point is still to be reached; at 0 the trap is spent."""
    send: Callable[[int, int], None] = field(default=os.kill)


_traps: Final[list[Trap]] = []


def set_trap(trap: Trap) -> None:
    """Have a trap wait at its point from now on."""
    _traps.append(trap)
    install_hook(_spring)


def clear_traps() -> None:
    """Remove every trap."""
    _traps.clear()
    install_hook(None)


def _spring(point: Failpoint) -> None:
    for trap in _traps:
        if trap.point is point:
            trap.passes -= 1
            if trap.passes == 0:
                trap.send(os.getpid(), trap.signal_number)
