"""Batches that are carried out, taken over and cancelled, directly through the runs service."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.domain.errors import StoreError
from flowport.domain.models import Run, RunState
from flowport.domain.run_events import Finished
from flowport.domain.spending import SpendingLimits
from flowport.providers.registry import ProviderSettings
from flowport.runs.batch.prepare import BatchRequest, InputRow, PreparedBatch, prepare_batch
from flowport.runs.batch.service import TRIAL_ROWS, Batches, _count_places
from flowport.runs.submit import RunRequest
from flowport.store.records import STOPPED_BY_PERSON
from tests.fakes.client import Client as SandboxClient
from tests.fakes.magica.client import MAGICA_KEY, MagicaClient
from tests.support.harness import Harness, open_harness
from tests.support.scripted import wait_until

FAILING = "always_fails"
SLOW: dict[str, Any] = {"requests_per_minute": 12, "max_tools": 0}
"""Some rows are sent; the others wait for the next minute of the rate limit."""


@pytest.fixture
async def flowport(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport."""
    async with open_harness(sandbox, tmp_path / "person") as harness:
        yield harness


def build_rows(count: int) -> list[dict[str, Any]]:
    """Return rows that all differ."""
    return [{"note": f"row {n}"} for n in range(count)]


async def prepare(flowport: Harness, count: int) -> PreparedBatch:
    """Return a batch that can be accepted."""
    await flowport.client.list_tools()
    workspace = flowport.assembly.workspace
    home, listing = workspace.get_open_catalog(FAILING)
    listing = await home.catalog.fetch_listing(listing.tool_name)
    request = BatchRequest(tuple(InputRow(f"row {n}", row) for n, row in enumerate(build_rows(count))))

    async def report(_: int) -> None:
        """Report nothing."""

    return await prepare_batch(workspace.preparer, home.account, listing, request, RunRequest("local"), report=report)


class FaultyBatchStore:
    """The real store with operations that fail or wait when a test says so."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.failing: dict[str, BaseException] = {}
        self.held: dict[str, anyio.Event] = {}
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Any:
        """Wrap the operation."""
        found = getattr(self.real, name)

        async def perform(*args: Any, **options: Any) -> Any:
            """Fail, wait or perform it."""
            operation = type(args[1]).__name__ if name == "record" else name
            self.called.append(operation)
            if operation in self.held:
                await self.held[operation].wait()
            if operation in self.failing:
                raise self.failing[operation]
            return await found(*args, **options)

        return perform


@pytest.fixture
def faulty(flowport: Harness) -> FaultyBatchStore:
    """Give the batches of a Flowport a store that can fail."""
    batches = flowport.assembly.workspace.batches
    found = FaultyBatchStore(batches._store)
    batches._store = batches._conductor._store = found
    return found


async def wait_for_end(flowport: Harness, batch_id: str) -> Run:
    """Wait until a batch is over and return it."""
    store = flowport.assembly.workspace.store
    with anyio.fail_after(60):
        while not (run := await store.get_run(batch_id, account_id=None, owner="local")).state.is_final:
            await anyio.lowlevel.checkpoint()
    return run


async def test_the_next_process_continues_a_batch(sandbox: SandboxClient, tmp_path: Path) -> None:
    """It continues without a request; sent rows are not sent again, unsent ones are."""
    async with open_harness(sandbox, tmp_path / "person", **SLOW) as first:
        batch_id = (await first.ask("run_batch", app=FAILING, rows=build_rows(80), wait=False))["run_id"]
        with anyio.fail_after(60):
            while await first.count("run") < 3:
                await anyio.lowlevel.checkpoint()
    async with open_harness(sandbox, tmp_path / "person") as second:
        run = await wait_for_end(second, batch_id)
        batch_progress = await second.assembly.workspace.store.get_batch_progress(batch_id)
        # A row whose start was in flight at the end is unknown, and was sent or not.
        assert await second.count("run") + batch_progress.unknown >= 80 >= await second.count("run")
    assert (run.state, batch_progress.failed + batch_progress.unknown) == (RunState.FAILED, 80)
    assert batch_progress.failed >= 70


async def test_a_batch_that_cannot_be_recorded_is_refused(flowport: Harness, faulty: FaultyBatchStore) -> None:
    """Nothing is sent for a batch that could be lost."""
    faulty.failing["accept_batch"] = StoreError("the disk is full", "Make room.")
    with pytest.raises(StoreError, match="the disk is full"):
        await flowport.assembly.workspace.batches.submit(await prepare(flowport, 2), RunRequest("local"))
    assert await flowport.count("run") == 0


async def test_an_internal_error_is_an_answer(
    flowport: Harness, faulty: FaultyBatchStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller that waits without end is worse off than with an error."""
    faulty.failing["accept_batch"] = ZeroDivisionError("a bug")
    with pytest.raises(StoreError, match="Flowport made a mistake"):
        await flowport.assembly.workspace.batches.submit(await prepare(flowport, 2), RunRequest("local"))
    assert "a bug" in caplog.text


@pytest.mark.parametrize("name", ["get_batch_progress", "get_waiting_rows", "accept_rows", "finish_batch"])
async def test_a_batch_waits_for_an_unusable_store(
    flowport: Harness, faulty: FaultyBatchStore, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """It continues by itself once the disk has room, and logs the fault once."""
    faulty.failing[name] = StoreError("the disk is full", "Make room.")
    workspace = flowport.assembly.workspace
    batch = (await workspace.batches.submit(await prepare(flowport, 3), RunRequest("local"))).run
    await wait_until(lambda: faulty.called.count(name) >= 1)
    workspace.batches._wake(batch.id)
    with anyio.fail_after(60):
        while faulty.called.count(name) < 2:
            workspace.batches._wake(batch.id)
            await anyio.lowlevel.checkpoint()
    assert caplog.text.count("cannot go on just now") == 1
    entry = workspace.runner.get_entry(batch.id)
    assert entry is not None
    assert "the disk is full" in entry.problem
    faulty.failing.clear()
    assert (await wait_for_end(flowport, batch.id)).state is RunState.FAILED
    assert await flowport.count("run") == 3


async def test_a_crashed_batch_restarts_on_request(
    flowport: Harness, faulty: FaultyBatchStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Its rows are in the store, so nothing is lost and nothing is paid twice."""
    faulty.failing["get_batch_progress"] = ZeroDivisionError("a bug")
    batches = flowport.assembly.workspace.batches
    batch = (await batches.submit(await prepare(flowport, 3), RunRequest("local"))).run
    await wait_until(
        lambda: faulty.called.count("get_batch_progress") == 1 and batches._runner.get_entry(batch.id) is None
    )
    assert "a bug" in caplog.text
    faulty.failing.clear()
    assert (await flowport.ask("get_run", run_id=batch.id))["failed"] == 3
    assert await flowport.count("run") == 3


async def test_an_erased_batch_is_abandoned(flowport: Harness, faulty: FaultyBatchStore) -> None:
    """An erased batch is not requested any more."""
    batches, store = flowport.assembly.workspace.batches, flowport.assembly.workspace.store
    faulty.held["get_batch_progress"] = anyio.Event()
    batch = (await batches.submit(await prepare(flowport, 2), RunRequest("local"))).run
    await store.finish_batch(batch.id, Finished(RunState.FAILED, 1.0), csv_path="", csv_problem="")
    await store.erase_run(batch.id, owner="local")
    faulty.held.pop("get_batch_progress").set()
    await wait_until(lambda: batches._runner.get_entry(batch.id) is None)
    assert await flowport.count("run") == 0


async def test_a_batch_that_is_over_is_not_ended_again(flowport: Harness) -> None:
    """The second ending comes from a reader whose data is a moment old."""
    workspace = flowport.assembly.workspace
    batch = (await workspace.batches.submit(await prepare(flowport, 2), RunRequest("local"))).run
    over = await wait_for_end(flowport, batch.id)
    await wait_until(lambda: workspace.runner.get_entry(batch.id) is None)
    await workspace.recovery.resume(batch)
    await wait_until(lambda: workspace.runner.get_entry(batch.id) is None)
    kept = await workspace.store.get_run(batch.id, account_id=None, owner="local")
    assert kept == replace(over, lease=kept.lease)
    assert len(list(flowport.outputs.glob("*/*.csv"))) == 1


async def test_a_batch_of_a_dead_process_is_claimed_once(flowport: Harness, tmp_path: Path) -> None:
    """A running process keeps its batch; of two claims on a dead one's batch, one succeeds."""
    workspace = flowport.assembly.workspace
    batches: Batches = workspace.batches
    batch = (await batches.submit(await prepare(flowport, 2), RunRequest("local"))).run
    over = await wait_for_end(flowport, batch.id)
    await wait_until(lambda: batches._runner.get_entry(batch.id) is None)
    async with open_harness(flowport.sandbox, tmp_path / "person") as other:
        theirs = other.assembly.workspace.recovery._process.process_id
        await workspace.recovery.resume(replace(batch, process_id=theirs))
        assert batches._runner.get_entry(batch.id) is None
    # The store names another owner, so a claim from the dead process comes too late.
    await workspace.recovery.resume(replace(batch, process_id="0" * 16, lease=0))
    await workspace.recovery.resume(over)
    assert batches._runner.get_entry(batch.id) is None


async def test_a_caller_that_disconnects_before_its_batch_is_stored(
    flowport: Harness, faulty: FaultyBatchStore
) -> None:
    """With the setting to stop, nothing of the batch is started, because no client has its id."""
    faulty.held["accept_batch"] = anyio.Event()
    batches, prepared = flowport.assembly.workspace.batches, await prepare(flowport, 3)
    async with anyio.create_task_group() as tasks:

        async def call() -> None:
            """Submit and disconnect."""
            await batches.submit(prepared, RunRequest("local", is_stopped_with_caller=True))

        tasks.start_soon(call)
        await wait_until(lambda: "accept_batch" in faulty.called)
        tasks.cancel_scope.cancel()
    faulty.held.pop("accept_batch").set()
    with anyio.fail_after(60):
        while not (listed := (await flowport.ask("list_runs"))["runs"]) or listed[0]["state"] != "cancelled":
            await anyio.lowlevel.checkpoint()
    assert await flowport.count("run") == 0


async def test_the_limits_of_the_call_apply(flowport: Harness) -> None:
    """A batch is submitted on the same terms as a run."""
    batches = flowport.assembly.workspace.batches
    batches._acceptor.requests.spending_limits = SpendingLimits(max_credits_per_day=2.0)
    with pytest.raises(Exception, match=r"3 runs of .* cost 3 credits together"):
        await batches.submit(await prepare(flowport, 3), RunRequest("local"))


async def test_an_internal_error_after_acceptance_loses_nothing(
    flowport: Harness, faulty: FaultyBatchStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch has no worker for a moment; then it is recovered like one of a dead process."""
    faulty.held["accept_batch"] = anyio.Event()
    faulty.failing["drop_rows"] = ZeroDivisionError("a bug")
    batches, prepared = flowport.assembly.workspace.batches, await prepare(flowport, 3)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batches.submit, prepared, RunRequest("local", is_stopped_with_caller=True))
        await wait_until(lambda: "accept_batch" in faulty.called)
        tasks.cancel_scope.cancel()
    faulty.held.pop("accept_batch").set()
    await wait_until(lambda: "a bug" in caplog.text)
    batch_id = (await flowport.ask("list_runs"))["runs"][0]["run_id"]
    assert (await flowport.ask("get_run", run_id=batch_id))["failed"] == 3
    assert await flowport.count("run") == 3


async def test_a_table_is_saved_once_although_the_end_is_written_repeatedly(
    flowport: Harness, faulty: FaultyBatchStore
) -> None:
    """A full disk must not be filled further every second."""
    faulty.failing["finish_batch"] = StoreError("the disk is full", "Make room.")
    batches = flowport.assembly.workspace.batches
    batch = (await batches.submit(await prepare(flowport, 2), RunRequest("local"))).run
    with anyio.fail_after(60):
        while faulty.called.count("finish_batch") < 3:
            batches._wake(batch.id)
            await anyio.lowlevel.checkpoint()
    faulty.failing.clear()
    await wait_for_end(flowport, batch.id)
    (path,) = flowport.outputs.glob("*/*.csv")
    assert (await flowport.assembly.workspace.store.get_batch_progress(batch.id)).csv_path == str(path)


async def test_a_refused_account_is_not_used_for_every_row(flowport: Harness) -> None:
    """The next row would be refused like this one."""
    await flowport.sandbox.switch("faults", operation="run", fault="status", status=402, times=1000)
    batch = (await flowport.assembly.workspace.batches.submit(await prepare(flowport, 300), RunRequest("local"))).run
    over = await wait_for_end(flowport, batch.id)
    batch_progress = await flowport.assembly.workspace.store.get_batch_progress(batch.id)
    assert "says that the account does not have enough credits." in batch_progress.stop_reason
    assert batch_progress.stop_reason.endswith("The rest was not started and cost nothing.")
    assert (over.state, over.failure.endswith(batch_progress.stop_reason)) == (RunState.FAILED, True)
    assert batch_progress.failed + batch_progress.cancelled + batch_progress.dropped == 300
    assert batch_progress.failed == await flowport.count("run") < 300


async def test_a_claimed_batch_stops_when_its_account_is_refused(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The refusal also counts for rows that another process had accepted."""
    async with open_harness(sandbox, tmp_path / "person", **SLOW) as first:
        rows = build_rows(64)
        batch_id = (await first.ask("run_batch", app=FAILING, rows=rows, wait=False))["run_id"]
        await wait_until(
            lambda: sum(run.startswith("run_") for run in first.assembly.workspace.runner._live_runs._live) > 60
        )
    sent = await first.count("run")
    await sandbox.switch("faults", operation="run", fault="status", status=402, times=1000)
    async with open_harness(sandbox, tmp_path / "person") as second:
        over = await wait_for_end(second, batch_id)
        batch_progress = await second.assembly.workspace.store.get_batch_progress(batch_id)
        assert await second.count("run") - sent < 32
    assert "says that the account does not have enough credits." in batch_progress.stop_reason
    assert over.failure.endswith(batch_progress.stop_reason)


@pytest.mark.parametrize("failures", [0, 1, 10, 500])
async def test_few_rows_are_live_until_one_has_succeeded(flowport: Harness, failures: int) -> None:
    """Live rows may be paid for when the failures are noticed; without a failure limit no row waits."""
    batch = replace(await prepare(flowport, 2), request=BatchRequest((), stop_after_failures=failures))
    accepted = (await flowport.assembly.workspace.batches.submit(batch, RunRequest("local"))).run
    await wait_for_end(flowport, accepted.id)
    batch_progress = await flowport.assembly.workspace.store.get_batch_progress(accepted.id)
    expected = {0: 64, 1: TRIAL_ROWS, 10: 10, 500: 64}[failures]
    assert _count_places(batch_progress, 64) == expected
    assert _count_places(replace(batch_progress, succeeded=1), 64) == 64


async def test_each_row_is_cancelled_at_the_provider(
    sandbox: SandboxClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that cannot be cancelled is logged and delays no other; the caller does not wait for them."""
    face = MagicaClient(sandbox)
    await face.switch(has_cancel=True)
    await sandbox.switch("next_run", runs=3, hold=True, pending_seconds=0)
    url, path = f"{sandbox.addresses.api_url}/magica", "/v1/runs/{run_id}/cancel"
    providers = (
        ProviderSettings(
            "magica", url, MAGICA_KEY, {"file_origins": frozenset({sandbox.addresses.files_url}), "cancel_path": path}
        ),
    )
    async with open_harness(sandbox, tmp_path / "person", providers=providers) as flowport:
        workspace, rows = flowport.assembly.workspace, [{"prompt": f"lake {n}"} for n in range(3)]
        batch_id = (await flowport.ask("run_batch", app="text_to_picture", rows=rows, wait=False))["run_id"]
        with anyio.fail_after(60):
            while sum(run.state.is_at_provider for run in await workspace.store.get_live_rows(batch_id)) < 3:
                await anyio.lowlevel.checkpoint()
        await sandbox.switch("faults", operation="cancel", fault="status", status=400)
        answer = await flowport.ask("cancel_run", run_id=batch_id)
        with anyio.fail_after(60):
            while (
                await workspace.store.get_batch_progress(batch_id)
            ).cancelled < 2 or batch_id in workspace.batches._cancelling:
                await anyio.lowlevel.checkpoint()
        assert (await workspace.store.get_batch_progress(batch_id)).live == 1
        await flowport.ask("cancel_run", run_id=batch_id)
        over = await wait_for_end(flowport, batch_id)
    assert answer["summary"] == (
        "All 3 runs were started already; Magica is being asked to cancel 3 that go on, and get_run tells how they end."
    )
    assert over.state is RunState.CANCELLED
    assert f"of {batch_id} was not cancelled: Magica " in caplog.text


async def test_a_row_in_flight_is_cancelled_once_its_id_is_known(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A start in flight has no provider id yet by which it could be cancelled."""
    face = MagicaClient(sandbox)
    await face.switch(has_cancel=True)
    await sandbox.switch("next_run", hold=True, pending_seconds=0)
    url, path = f"{sandbox.addresses.api_url}/magica", "/v1/runs/{run_id}/cancel"
    providers = (
        ProviderSettings(
            "magica", url, MAGICA_KEY, {"file_origins": frozenset({sandbox.addresses.files_url}), "cancel_path": path}
        ),
    )
    async with open_harness(sandbox, tmp_path / "person", providers=providers) as flowport:
        workspace = flowport.assembly.workspace
        held = FaultyBatchStore(workspace.store)
        held.held["StartAcknowledged"] = anyio.Event()
        workspace.runner._starter._writer._store = held
        batch_id = (await flowport.ask("run_batch", app="text_to_picture", rows=[{"prompt": "x"}], wait=False))[
            "run_id"
        ]
        await wait_until(lambda: "StartAcknowledged" in held.called)
        await flowport.ask("cancel_run", run_id=batch_id)
        await wait_until(lambda: batch_id in workspace.batches._cancelling)
        held.held.pop("StartAcknowledged").set()
        over = await wait_for_end(flowport, batch_id)
    assert (over.state, (await face.count())["cancel"]) == (RunState.CANCELLED, 1)


async def test_a_refused_start_is_not_retried_after_a_cancellation(
    flowport: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    """It was being sent when the batch was cancelled."""
    batches, store = flowport.assembly.workspace.batches, flowport.assembly.workspace.store
    real = FaultyBatchStore(store)
    flowport.assembly.workspace.runner._starter._store = real
    real.held["StartRequested"] = anyio.Event()
    batch = (await batches.submit(await prepare(flowport, 1), RunRequest("local"))).run
    await wait_until(lambda: "StartRequested" in real.called)
    # The state of the store between the cancellation and the return of the row.
    faulty = FaultyBatchStore(store)
    faulty.failing["get_live_rows"] = StoreError("the disk is full", "Make room.")
    batches._store = faulty
    asked: set[str] = set()
    assert not await batches._ask_to_cancel(batch, STOPPED_BY_PERSON, asked)
    assert "cannot be cancelled just now" in caplog.text
    faulty.failing.clear()
    assert not await batches._ask_to_cancel(batch, STOPPED_BY_PERSON, asked)
    assert await batches._ask_to_cancel(batch, STOPPED_BY_PERSON, asked)
    real.held.pop("StartRequested").set()
    over = await wait_for_end(flowport, batch.id)
    assert (over.state, await flowport.count("run")) == (RunState.CANCELLED, 0)
