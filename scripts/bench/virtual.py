"""Time that passes only while nobody has anything to do: minutes of waiting are measured in no time, and exactly."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio

from flowport.domain.models import BootTime

T = TypeVar("T")
BEGAN_AT: Final = 1_800_000_000.0
LEAST_SECONDS: Final = 1e-6
"""The loop takes less than its own resolution for no time at all; whoever slept so long would find that none has passed."""


class _JumpingSelector(selectors.SelectSelector):
    """Moves the time on instead of waiting; there are no sockets and threads to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return at once; the time that was to be waited has passed."""
        if timeout is None:
            raise RuntimeError("everybody waits for ever")
        # Rounded, so that what else happens meanwhile, and in how many steps time passes, changes no comparison.
        self.now = round(self.now + max(0.0, timeout), 9)
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop by whose clock the selector goes."""

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
        """Wait; a negative duration is none."""
        await anyio.sleep(max(LEAST_SECONDS, seconds) if seconds > 0 else 0.0)

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Return a scope that ends so long after now."""
        return anyio.move_on_after(seconds)


def run_virtually(work: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run something to its end in virtual time."""
    return anyio.run(work, *args, backend_options={"loop_factory": _VirtualLoop})
