"""How long the runs of an app take: the store is read once for each app."""

import math
import random
from typing import cast

import pytest

from flowport.domain.errors import StoreError
from flowport.runs.poll import RELOAD_SECONDS, DurationBook, Usual
from flowport.runs.steps import UNKNOWN_SECONDS
from flowport.store.interface import Store
from tests.support.fake_clock import FakeClock


class DurationStore:
    """A store that has durations and counts the reads."""

    def __init__(self, *durations: float, failing: int = 0) -> None:
        self.durations, self.failing, self.asked = durations, failing, 0

    async def get_durations(self, *, account_id: str, app_id: str, limit: int = 20) -> tuple[float, ...]:
        """Return its durations, or fail at first."""
        self.asked += 1
        if self.asked <= self.failing:
            raise StoreError("the disk is full", "Make room.")
        return self.durations


def build_book(store: DurationStore) -> DurationBook:
    """Return the estimates on a store."""
    return DurationBook(cast("Store", store))


async def test_the_store_is_read_once_and_later_ends_are_added() -> None:
    """Five hundred calls for one app would otherwise be five hundred reads."""
    store = DurationStore(30.0, 20.0, 10.0)
    book = build_book(store)
    await book.load("a", "x")
    await book.load("a", "x")
    assert (store.asked, book.get_usual("a", "x")) == (1, Usual(20.0, 30.0))
    assert book.get_usual_seconds("a", "x") == 20.0
    for _ in range(7):
        book.note("a", "x", alive_seconds=90.0, over_seconds=110.0)
    assert book.get_usual("a", "x") == Usual(100.0, 100.0)
    assert book.get_usual_seconds("a", "x") == 100.0


async def test_ends_in_other_processes_are_learned_after_a_while() -> None:
    """In a team the replica that answers polls nothing; what is usual must not stay as it was when it was started."""
    store, clock = DurationStore(30.0, 20.0, 10.0), FakeClock(is_automatic=False)
    book = DurationBook(cast("Store", store), clock, is_shared=True)
    await book.load("a", "x")
    store.durations = (60.0,) * 9
    await book.load("a", "x")
    assert (store.asked, book.get_usual_seconds("a", "x")) == (1, 20.0)
    clock.advance(RELOAD_SECONDS)
    await book.load("a", "x")
    assert (store.asked, book.get_usual_seconds("a", "x")) == (2, 60.0)


async def test_rarely_polled_rows_do_not_make_their_app_look_slow() -> None:
    """A run that was over at its first poll counts half its time: the later the poll, the less it says."""
    chance = random.Random(7)
    draws = [60.0 * math.exp(0.5 * chance.gauss(0.0, 1.0)) for _ in range(520)]
    book = build_book(DurationStore(*draws[:20]))
    await book.load("a", "x")
    for draw in draws[20:]:
        looks = int(draw // 120.0)
        book.note("a", "x", alive_seconds=looks * 120.0, over_seconds=(looks + 1) * 120.0)
    assert book.get_usual_seconds("a", "x") == pytest.approx(60.0, rel=0.1)


async def test_too_few_runs_give_no_estimate() -> None:
    """Two runs are not enough evidence."""
    book = build_book(DurationStore(30.0, 20.0))
    await book.load("a", "x")
    assert book.get_usual("a", "x") is None
    assert book.get_usual("a", "another") is None


@pytest.mark.parametrize("failing", [1, 2])
async def test_a_failed_read_is_repeated_next_time(failing: int) -> None:
    """Until then the default estimate applies, and nothing is added that would hide the store's durations."""
    store = DurationStore(30.0, 20.0, 10.0, failing=failing)
    book = build_book(store)
    for _ in range(failing):
        await book.load("a", "x")
        book.note("a", "x", alive_seconds=1.0, over_seconds=2.0)
        assert (book.get_usual("a", "x"), book.get_usual_seconds("a", "x")) == (None, UNKNOWN_SECONDS)
    await book.load("a", "x")
    assert book.get_usual("a", "x") == Usual(20.0, 30.0)
