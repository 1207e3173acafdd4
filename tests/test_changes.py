"""Gathering what has changed."""

import anyio
import pytest

from flowport.changes import QUIET_SECONDS, Changed, Changes, ListKind
from tests.fake_clock import FakeClock


async def test_changes_that_follow_at_once_are_one_word() -> None:
    """A first catalogue comes app by app; forty words would have every client read the list forty times."""
    clock = FakeClock(is_automatic=False)
    changes = Changes(clock)
    taken: list[Changed] = []

    async def take() -> None:
        """Take once."""
        taken.append(await changes.take())

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        changes.note_list(ListKind.TOOLS)
        await clock.settle()
        changes.note_list(ListKind.TOOLS)
        changes.note_run("run_a", is_relisted=True)
        changes.note_run("run_a", is_relisted=False)
        clock.advance(QUIET_SECONDS)

    assert taken == [Changed(frozenset({ListKind.TOOLS, ListKind.RESOURCES}), frozenset({"run_a"}))]


async def test_a_run_that_is_listed_as_before_changes_no_list() -> None:
    """A client would read twenty runs again for a file that was saved."""
    changes = Changes(FakeClock())
    changes.note_run("run_a", is_relisted=False)

    assert await changes.take() == Changed(frozenset(), frozenset({"run_a"}))


async def test_what_was_taken_is_not_taken_again() -> None:
    """Nobody wants to hear the same word for ever."""
    changes = Changes(FakeClock(is_automatic=True))
    changes.note_list(ListKind.TOOLS)
    await changes.take()

    with pytest.raises(anyio.WouldBlock):
        _take_now(changes)


def _take_now(changes: Changes) -> None:
    if not changes._noted.is_set():
        raise anyio.WouldBlock
