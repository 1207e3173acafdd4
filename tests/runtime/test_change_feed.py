"""Receive what has changed."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from flowport.runtime.background import LIST_SECONDS, QUIET_SECONDS, Changes, ListChange, ListKind, RunChange
from tests.support.fake_clock import FakeClock


async def gather(
    take: Callable[[], Awaitable[Any]], clock: FakeClock, change: Callable[[], None], seconds: float
) -> Any:
    """Return what is taken when the same changes again and again within so many seconds."""
    taken: list[Any] = []

    async def note() -> None:
        """Take once."""
        taken.append(await take())

    async with anyio.create_task_group() as group:
        group.start_soon(note)
        for _ in range(4):
            change()
            await clock.settle()
            clock.advance(seconds / 4)
    return taken


async def test_changes_of_lists_within_some_seconds_are_one_word() -> None:
    """A first catalogue comes app by app; forty words would have every client read the list forty times."""
    clock = FakeClock(is_automatic=False)
    changes = Changes(clock)

    def change() -> None:
        """Change both lists."""
        changes.note_list(ListKind.TOOLS)
        changes.note_run("run_a", owner="anna", is_relisted=True)

    assert await gather(changes.take_lists, clock, change, LIST_SECONDS) == [
        {ListChange(ListKind.TOOLS), ListChange(ListKind.RESOURCES, "anna")}
    ]


async def test_changes_of_runs_are_announced_sooner_and_change_no_list() -> None:
    """Who watches a run wants to see it; a client would read twenty runs again for a file that was saved."""
    clock = FakeClock(is_automatic=False)
    changes = Changes(clock)

    def change() -> None:
        """Change two runs."""
        changes.note_run("run_a", owner="anna", is_relisted=False)
        changes.note_run("run_b", owner="anna", is_relisted=False)

    assert QUIET_SECONDS < LIST_SECONDS
    assert await gather(changes.take_runs, clock, change, QUIET_SECONDS) == [
        {RunChange("run_a", "anna"), RunChange("run_b", "anna")}
    ]
    assert not changes._lists._bell.is_set()


async def test_what_was_taken_is_not_taken_again() -> None:
    """A client must not be notified twice."""
    changes = Changes(FakeClock(is_automatic=True))
    changes.note_list(ListKind.TOOLS)
    await changes.take_lists()

    with pytest.raises(TimeoutError), anyio.fail_after(0):
        await changes.take_lists()
