"""Pruning what is old, erasing what is unwanted, and knowing how much there is."""

from dataclasses import replace
from pathlib import Path

import pytest

from flowport.domain.call_errors import RunNotOver
from flowport.domain.errors import RunNotFound
from flowport.domain.models import Run, RunState
from flowport.store.interface import Store
from flowport.store.records import Erasure, History
from tests.store.samples import ACCOUNT, OUTPUT, OWNER, build_run

OLD, LIMIT, NEW = 100.0, 200.0, 300.0
KEPT = {
    "unseen": build_run("run_unseen", RunState.SUCCEEDED, finished_at=OLD),
    "unknown and unseen": build_run("run_unknown", RunState.UNKNOWN, finished_at=OLD),
    "live": build_run("run_live", RunState.RUNNING, accepted_at=OLD),
    "live and yet seen": build_run("run_odd", RunState.RUNNING, accepted_at=OLD, delivered_at=OLD),
    "ended lately": build_run("run_new", RunState.SUCCEEDED, finished_at=NEW, delivered_at=NEW),
    "ended at the limit": build_run("run_limit", RunState.FAILED, finished_at=LIMIT, delivered_at=OLD),
    "seen lately": build_run("run_late", RunState.SUCCEEDED, finished_at=OLD, delivered_at=NEW),
}


def build_old_run(run_id: str, **changes: object) -> Run:
    """Return a run that nothing keeps from being pruned."""
    return build_run(run_id, RunState.SUCCEEDED, finished_at=OLD, delivered_at=OLD, outputs=(OUTPUT,), **changes)


@pytest.mark.parametrize("run", KEPT.values(), ids=KEPT)
async def test_what_a_user_may_still_need_is_never_pruned(store: Store, run: Run) -> None:
    """An undelivered result was paid for, and what is not over costs and counts."""
    await store.accept(run)
    assert (await store.prune(before=LIMIT)).runs == 0
    assert await store.get_run(run.id, account_id=None, owner=OWNER) == run


async def test_pruning_spares_the_files_that_were_saved(store: Store, tmp_path: Path) -> None:
    """They are the person's, not ours."""
    file = tmp_path / "1.png"
    file.touch()
    await store.accept(replace(build_old_run("run_1"), outputs=(replace(OUTPUT, saved_path=str(file)),)))
    assert (await store.prune(before=LIMIT)).runs == 1
    assert file.exists()


async def test_a_run_that_goes_on_is_not_erased(store: Store) -> None:
    """Its result would not be reported."""
    await store.accept(KEPT["live"])
    with pytest.raises(RunNotOver):
        await store.erase_run("run_live", owner=OWNER)
    assert await store.get_live_runs(account_id=ACCOUNT) == (KEPT["live"],)


async def test_the_history_counts_one_owners_runs(store: Store) -> None:
    """Who keeps a record should know how much there is of it."""
    for run in (*KEPT.values(), build_old_run("run_old", accepted_at=7.0), build_run("run_theirs", owner="other")):
        await store.accept(run)
    assert await store.get_history(owner=OWNER) == History(
        runs=8, live=2, unseen=2, unknown=1, oldest_at=7.0, saved_outputs=1, saved_bytes=12
    )
    assert await store.get_history(owner="without runs") == History(0, 0, 0, 0, None, 0, 0)


async def test_what_ended_was_delivered_and_is_old_is_pruned(store: Store) -> None:
    """The record stays as small as the user asked for; names stay with their apps."""
    await store.assign_tool_names("s", {"app1": "a"})
    await store.accept(build_old_run("run_1"))
    assert (await store.prune(before=LIMIT)).runs == 1
    with pytest.raises(RunNotFound):
        await store.get_run("run_1", account_id=None, owner=OWNER)
    assert await store.assign_tool_names("s", {"app1": "b"}) == {"app1": "a"}


async def test_a_run_is_erased_by_its_owner_alone(store: Store) -> None:
    """Knowing the id is not enough."""
    await store.accept(build_old_run("run_1", owner="other"))
    with pytest.raises(RunNotFound):
        await store.erase_run("run_1", owner=OWNER)
    assert await store.erase_run("run_1", owner="other") == Erasure(1, (OUTPUT.saved_path,))


async def test_an_owner_is_erased_but_for_what_is_live(store: Store) -> None:
    """A run that goes on may still bring a result, and others' runs are not this owner's to erase."""
    theirs = build_old_run("run_theirs", owner="other")
    for run in (KEPT["unseen"], KEPT["unknown and unseen"], KEPT["live"], build_old_run("run_1"), theirs):
        await store.accept(run)
    assert await store.erase_owner(OWNER) == Erasure(3, (OUTPUT.saved_path,))
    assert await store.get_runs(account_id=None, owner=OWNER, limit=9, undelivered_first=False) == (KEPT["live"],)
    assert await store.get_run("run_theirs", account_id=None, owner="other") == theirs
