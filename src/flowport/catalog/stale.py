"""The apps whose definitions are doubted, because their provider refused inputs that fit them."""

from collections import deque
from typing import Final

import anyio

from flowport.domain.models import App
from flowport.runtime.clock import Clock

MAX_READ: Final = 5
"""How many doubted definitions are read again within `SPAN_SECONDS`; a model may send wrong inputs all day long."""

SPAN_SECONDS: Final = 600.0


class StaleDefinitions:
    """A queue in which each app stands once, and the pace at which it is worked off."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apps: dict[str, App] = {}
        self._added = anyio.Event()
        self._read_at: deque[float] = deque(maxlen=MAX_READ)

    def add(self, app: App) -> None:
        """Note that a run of this app, by this definition, was refused."""
        self._apps[app.id] = app
        self._added.set()

    async def take(self) -> App:
        """Wait for a doubt and return it."""
        while not self._apps:
            self._added = anyio.Event()
            await self._added.wait()
        return self._apps.pop(next(iter(self._apps)))

    async def wait_for_turn(self) -> None:
        """Wait until one more definition may be read, and count it as read."""
        if len(self._read_at) == MAX_READ:
            await self._clock.sleep(self._read_at[0] + SPAN_SECONDS - self._clock.monotonic())
        self._read_at.append(self._clock.monotonic())
