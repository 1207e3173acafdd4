"""When the record of runs is looked after."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.domain.access_tokens import AccessToken
from flowport.domain.errors import StoreError
from flowport.domain.models import BootTime, RunState
from flowport.domain.spending import SpendingLimits
from flowport.store.maintenance import DAY_SECONDS, keep_up
from flowport.store.records import Erasure
from tests.store.samples import OUTPUT, build_run
from tests.support.fake_clock import FakeClock
from tests.support.scripted import FaultyStore


class PrunedStore(FaultyStore):
    """Notes what it is asked to prune, and ends the endless work after some days."""

    def __init__(self, path: Path, days: int) -> None:
        super().__init__(path)
        self.before: list[float] = []
        self._days = days
        self.scope = anyio.CancelScope()
        self.checks = 0
        """At which check the work ends; 0 for none."""
        self.is_full = False
        """Whether the next pruning fails."""

    def __getattribute__(self, name: str) -> Any:
        """Count the checks, those that fail too."""
        if name == "check":
            self.checks -= 1
            if self.checks == 0:
                self.scope.cancel()
        return super().__getattribute__(name)

    async def prune(self, *, before: float, boot_before: BootTime | None = None) -> Erasure:
        """Note the instant."""
        self.before.append(before)
        if len(self.before) == self._days:
            self.scope.cancel()
        if self.is_full:
            self.is_full = False
            raise StoreError("the disk is full", "Make room.")
        return await super().prune(before=before, boot_before=boot_before)


async def keep(
    store: PrunedStore, clock: FakeClock, keep_days: int, spending_limits: SpendingLimits | None = None
) -> None:
    """Prune until the store has had enough."""
    with store.scope:
        await keep_up(store, clock, keep_days=keep_days, spending_limits=spending_limits)
    await store.close()


async def test_it_is_done_at_once_and_every_day(tmp_path: Path) -> None:
    """Some Flowports run for weeks."""
    clock = FakeClock(now=1000 * DAY_SECONDS)
    store = PrunedStore(tmp_path / "store.sqlite3", days=3)
    await keep(store, clock, 90)
    assert store.before == [910 * DAY_SECONDS, 911 * DAY_SECONDS, 912 * DAY_SECONDS]


TOKEN = AccessToken("tok_1", "anna", "a" * 64, "anna", None, SpendingLimits(max_credits_per_month=9.0), 0.0)


@pytest.mark.parametrize(
    ("limits", "token", "days"),
    [
        (SpendingLimits(max_credits_per_day=9.0, max_credits_per_run=1.0), None, 7),
        (SpendingLimits(max_credits_per_month=9.0), None, 30),
        (SpendingLimits(max_account_credits_per_month=9.0), None, 30),
        (None, TOKEN, 30),
        (None, replace(TOKEN, revoked_at=1.0), 7),
        (None, replace(TOKEN, expires_at=1.0), 7),
        (None, replace(TOKEN, spending_limits=None), 7),
    ],
)
async def test_what_counts_for_a_month_is_kept_for_a_month(
    tmp_path: Path, limits: SpendingLimits | None, token: AccessToken | None, days: int
) -> None:
    """A cap of 30 days would be reset by a record of seven."""
    store = PrunedStore(tmp_path / "store.sqlite3", days=1)
    if token is not None:
        await store.add_token(token)
    await keep(store, FakeClock(now=1000 * DAY_SECONDS), 7, limits)
    assert store.before == [(1000 - days) * DAY_SECONDS]


async def test_runs_are_kept_without_limit_on_request(tmp_path: Path) -> None:
    """Then the store is looked over, and nothing is looked for."""
    store = PrunedStore(tmp_path / "store.sqlite3", days=1)
    store.checks = 2
    await keep(store, FakeClock(), 0)
    assert store.before == []


async def test_nothing_is_taken_out_of_a_damaged_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Writing could make the damage worse."""
    store = PrunedStore(tmp_path / "store.sqlite3", days=1)
    store.failing.add("check")
    store.checks = 2
    await keep(store, FakeClock(), 90)
    assert store.before == []
    assert "the disk is full" in caplog.text


async def test_a_store_that_fails_is_tried_again_the_next_day(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that is full today may not be tomorrow."""
    store = PrunedStore(tmp_path / "store.sqlite3", days=2)
    store.is_full = True
    await keep(store, FakeClock(), 90)
    assert len(store.before) == 2
    assert "the disk is full" in caplog.text


async def test_the_saved_files_of_pruned_runs_are_handed_over(tmp_path: Path) -> None:
    """Those of people at other computers leave with their runs; of runs that stay nothing does."""
    store, clock, removed = PrunedStore(tmp_path / "store.sqlite3", days=2), FakeClock(), list[str]()
    ended_at = clock.now() - 2 * DAY_SECONDS
    for name, delivered_at in (("old", ended_at), ("unseen", None)):
        output = replace(OUTPUT, saved_path=f"/out/{name}.png")
        run = build_run(f"run_{name}", RunState.SUCCEEDED, finished_at=ended_at, delivered_at=delivered_at)
        await store.accept(replace(run, outputs=(output,)))
    with store.scope:
        await keep_up(store, clock, keep_days=1, remove_files=removed.extend)
    await store.close()
    assert removed == ["/out/old.png"]


async def test_what_was_pruned_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A user may look for a run that is gone."""
    caplog.set_level(logging.INFO)
    store = PrunedStore(tmp_path / "store.sqlite3", days=2)
    clock = FakeClock()
    seen_at = clock.now() - 2 * DAY_SECONDS
    await store.accept(build_run("run_old", RunState.SUCCEEDED, finished_at=seen_at, delivered_at=seen_at))
    await keep(store, clock, 1)
    assert "old runs were pruned from the record: 1" in caplog.text
