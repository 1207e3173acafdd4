"""A shared file in memory whose changes can fail, for limiters that stand for processes."""

from collections.abc import Callable
from typing import TypeVar

import anyio.lowlevel

from flowport.domain.errors import StoreError
from flowport.domain.models import BootTime

T = TypeVar("T")
TROUBLE = StoreError("the disk is full", "Free some space.")


class MemoryFile:
    """The in-memory counterpart of `RateWindowFile`, for several limiters of one process."""

    parts = 2
    retry_seconds = 30.0

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.is_failing = False
        self.changes = 0

    async def change(self, key: str, work: Callable[[str, BootTime | None], tuple[str, T]]) -> T:
        """Change a text after other tasks could run."""
        await anyio.lowlevel.checkpoint()
        if self.is_failing:
            raise TROUBLE
        return self._change(key, work)

    def post(self, key: str, work: Callable[[str, BootTime | None], tuple[str, None]]) -> None:
        """Change a text at once."""
        if not self.is_failing:
            self._change(key, work)

    def _change(self, key: str, work: Callable[[str, BootTime | None], tuple[str, T]]) -> T:
        self.changes += 1
        self.texts[key], result = work(self.texts.get(key, ""), None)
        return result
