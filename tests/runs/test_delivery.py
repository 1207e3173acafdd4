"""From a written answer to its record."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from flowport.domain.models import RunState
from flowport.runs.delivery import Deliveries, Delivery
from flowport.runtime.background import Supervisor
from flowport.runtime.exchange import Exchange
from flowport.store.records import AttachRules, WaitingCall
from tests.runs.samples import NOW, RUN
from tests.support.fake_clock import FakeClock
from tests.support.scripted import FaultyStore, wait_until

OVER = replace(RUN, state=RunState.SUCCEEDED, finished_at=NOW)
DELIVERY = Delivery(OVER.id, "local", "c", "Claude", "call_1", (OVER.id,))


@asynccontextmanager
async def deliver(store: FaultyStore) -> AsyncIterator[tuple[Deliveries, Exchange]]:
    """Prepare the answer to a call that waits for a run."""
    await store.accept(OVER, AttachRules(WaitingCall("call_1", "p1"), 3600.0, NOW))
    exchange = Exchange(1)
    async with Supervisor() as supervisor:
        deliveries = Deliveries(store, FakeClock(NOW), supervisor)
        deliveries.expect(exchange, DELIVERY)
        assert deliveries.pending_runs == {OVER.id}
        yield deliveries, exchange


async def is_waiting(store: FaultyStore) -> bool:
    """Return whether the call is still in the store."""
    return await store.is_waited_for(OVER.id)


async def test_a_written_answer_is_recorded_and_its_call_ends(store: FaultyStore) -> None:
    """Both in one change; before it the run is neither delivered nor reported as undelivered."""
    async with deliver(store) as (deliveries, exchange):
        assert (await store.get_run(OVER.id, account_id=None, owner="local")).delivered_at is None
        assert deliveries.delivered.get(owner="local", connection="c") == ()
        exchange.note_written()
        assert deliveries.delivered.get(owner="local", connection="c") == (OVER.id,)
        await wait_until(lambda: not deliveries.pending_runs)
        run = await store.get_run(OVER.id, account_id=None, owner="local")
        assert (run.delivered_at, run.delivered_to, run.delivered_boot_id) == (NOW, "Claude", "boot")
        assert not await is_waiting(store)
        exchange.note_cancelled()
        await wait_until(lambda: store.called.count("Delivered") + store.called.count("DeliveryCancelled") == 2)
    run = await store.get_run(OVER.id, account_id=None, owner="local")
    assert (run.delivered_at, run.is_delivery_cancelled) == (NOW, True)


async def test_the_last_delivery_of_a_process_is_recorded_too(store: FaultyStore) -> None:
    """Clients often disconnect right after the last answer."""
    async with deliver(store) as (_, exchange):
        exchange.note_written()
    assert (await store.get_run(OVER.id, account_id=None, owner="local")).delivered_at == NOW


@pytest.mark.parametrize("is_early", [True, False])
async def test_a_disconnected_client_gets_nothing_and_its_call_ends(store: FaultyStore, *, is_early: bool) -> None:
    """Whether it disconnected before the answer was made, or before it was written."""
    async with deliver(store) as (deliveries, exchange):
        exchange.note_disconnected()
        if is_early:
            deliveries.expect(exchange, DELIVERY)
        exchange.note_written()
        assert not deliveries.pending_runs
        with anyio.fail_after(60):
            while await is_waiting(store):
                await anyio.lowlevel.checkpoint()
    assert (await store.get_run(OVER.id, account_id=None, owner="local")).delivered_at is None


async def test_a_delivery_that_cannot_be_recorded_happens_again(
    store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The client has the result; an equal call gets it once more and pays nothing."""
    store.failing = {"record", "leave"}
    async with deliver(store) as (deliveries, exchange):
        exchange.note_written()
        deliveries.leave("call_1")
        await wait_until(lambda: not deliveries.pending_runs)
    assert "was delivered could not be recorded" in caplog.text
    assert "that a call waits no longer could not be recorded" in caplog.text
