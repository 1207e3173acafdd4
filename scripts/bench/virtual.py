"""Time that passes only while no task can run: minutes of waiting are measured at once, and exactly."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio

from flowport.domain.models import BootTime

T = TypeVar("T")
BEGAN_AT: Final = 1_800_000_000.0
LEAST_SECONDS: Final = 1e-6
"""The loop treats less than its own resolution as no time; a task that slept so long would find that none has passed."""


class _JumpingSelector(selectors.SelectSelector):
    """Advances the time instead of waiting; no sockets or threads are awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return at once; the time to wait has passed."""
        if timeout is None:
            raise RuntimeError("every task waits without end")
        # Rounded, so that other events meanwhile, and the number of steps, change no comparison.
        self.now = round(self.now + max(0.0, timeout), 9)
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on the clock of the selector."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time."""
        return self._jumping.now


class VirtualClock:
    """The clock of everything that runs in a virtual loop."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return BEGAN_AT + self.monotonic()

    def monotonic(self) -> float:
        """Return seconds since the loop began."""
        return asyncio.get_running_loop().time()

    def boot_time(self) -> BootTime | None:
        """Return the same time as `monotonic`."""
        return BootTime("virtual", self.monotonic())

    async def sleep(self, seconds: float) -> None:
        """Wait; a negative duration counts as 0."""
        await anyio.sleep(max(LEAST_SECONDS, seconds) if seconds > 0 else 0.0)

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Return a scope that ends after a number of seconds."""
        return anyio.move_on_after(seconds)


def run_virtually(work: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run work to its end in virtual time."""
    return anyio.run(work, *args, backend_options={"loop_factory": _VirtualLoop})
