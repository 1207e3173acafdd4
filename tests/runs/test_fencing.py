"""What a process records of a run that it holds carries its lease: one that was paused and has lost the run changes nothing."""

import ast
from pathlib import Path
from typing import Final

import anyio
import pytest

from flowport.runs.live import LiveRuns, PendingWrites
from flowport.runs.start import RunStarter
from flowport.runs.submit import RunRequest
from flowport.store.records import Claimed
from tests.fakes.client import Client as SandboxClient
from tests.runs.samples import CALL, RUN, read
from tests.runs.test_batches import FaultyBatchStore, prepare, wait_for_end
from tests.support.fake_clock import FakeClock
from tests.support.harness import open_harness
from tests.support.scripted import FaultyStore, ScriptedAccount, build_answer, in_turn, wait_until

RUNS: Final = Path(__file__).resolve().parents[2] / "src" / "flowport" / "runs"
BUSY: Final = build_answer({"message": "Too many requests"}, 429, retry_after="7")

WRITES: Final = {"record": "lease", "accept_rows": "lease", "finish_batch": "lease", "drop_rows": "holder"}
"""Operations with the name of their lease, which is their third argument; `claim` cannot be called without one."""

WITHOUT_LEASE: Final = {
    ("delivery.py", "record_answer"): "an answer, by the process that has given it",
    ("delivery.py", "_record"): "an answer, by the process that has given it",
    ("lost_starts.py", "_record"): "evidence that the provider has the run",
    ("recovery.py", "adopt"): "the key that can read the run, applied to the account that was read",
    ("service.py", "cancel"): "the decision of a person",
    ("witness.py", "confirm_start"): "evidence that the provider has the run",
}
"""What each process may record of a run, by function, with the reason."""


def find_unfenced(path: Path) -> list[tuple[str, str]]:
    """Return the functions of a module that write to the store without a lease."""
    found = []
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    for function in (node for node in nodes if isinstance(node, ast.AsyncFunctionDef)):
        for call in ast.walk(function):
            match call:
                case ast.Call(func=ast.Attribute(value=owner, attr=name), args=args, keywords=keywords) if (
                    name in WRITES and ast.unparse(owner).endswith(("store", "_store"))
                ):
                    is_named = WRITES[name] in {keyword.arg for keyword in keywords}
                    is_given = len(args) > 2 or any(isinstance(one, ast.Starred) for one in args)
                    if not (is_named or is_given):
                        found.append((path.relative_to(RUNS).as_posix(), function.name))
    return found


def test_every_write_of_a_holder_names_its_lease() -> None:
    """A write without one is something that each process may record, and says why."""
    unfenced = {one for path in sorted(RUNS.rglob("*.py")) for one in find_unfenced(path)}

    assert unfenced == WITHOUT_LEASE.keys()


@pytest.mark.parametrize("is_let_go", [True, False], ids=["with news", "without"])
async def test_a_run_that_another_process_claims_while_it_waits_is_not_cancelled(
    store: FaultyStore, live_runs: LiveRuns, *, is_let_go: bool
) -> None:
    """A process that was paused before its second try lets the run go; the one that goes on with it starts it."""
    clock = FakeClock(is_automatic=False)
    account = ScriptedAccount(in_turn(BUSY), clock)
    await store.accept(RUN)
    entry = live_runs.put(RUN, noted_at=0.0)
    starter = RunStarter(store, live_runs, clock, PendingWrites(store, live_runs, clock))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(starter.start, RUN, CALL, account)
        await wait_until(lambda: clock.count_sleepers() == 1)
        claimed = await store.claim(RUN.id, "p2", lease=RUN.lease)
        if is_let_go:
            live_runs.remove(RUN.id)
        else:
            entry.is_unwanted = True
        clock.advance(7)

    assert isinstance(claimed, Claimed)
    assert (await read(store), len(account.asked)) == (claimed.run, 1)


async def test_a_batch_that_another_process_claims_begins_no_rows_here(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The one that was paused is just about to begin rows: those of its successor are all there are."""
    async with (
        open_harness(sandbox, tmp_path / "person") as first,
        open_harness(sandbox, tmp_path / "person") as second,
    ):
        batches = first.assembly.workspace.batches
        faulty = FaultyBatchStore(batches._store)
        batches._conductor._store = faulty
        faulty.held["accept_rows"] = anyio.Event()
        batch = (await batches.submit(await prepare(first, 3), RunRequest("local"))).run
        await wait_until(lambda: "accept_rows" in faulty.called)
        successor = second.assembly.workspace.batches._conductor._process.process_id
        await first.assembly.workspace.store.claim(batch.id, successor, lease=batch.lease)
        faulty.held["accept_rows"].set()
        await wait_until(lambda: first.assembly.workspace.runner.get_entry(batch.id) is None)
        await wait_for_end(second, batch.id)
        rows = await second.assembly.workspace.store.get_rows(batch.id)

    assert [row.run.process_id for row in rows if row.run is not None] == [successor] * 3
