"""Who calls, and what of a run was delivered by the answer."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import anyio

from flowport.domain.errors import StoreError
from flowport.domain.models import Run, RunState
from flowport.domain.principal import Principal
from flowport.domain.run_events import Delivered, DeliveryCancelled, Reported, RunEvent
from flowport.domain.spending import Consent
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Clock
from flowport.runtime.exchange import Exchange
from flowport.runtime.failpoints import Failpoint, trigger
from flowport.store.interface import Store

logger = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 200

MAX_DELIVERED: Final = 20
"""Runs that are remembered of one connection: the last may be erased."""


class Caller(Protocol):
    """Who asks, whatever the request came by: a protocol, a terminal or a page.

    It offers its exchange and not only `is_disconnected()`: a delivery is recorded when the answer was written, which is
    after the handler has returned, so the handler registers a listener there. The connection decides which equal calls are
    meant as separate runs, and the arrival bounds the wait.
    """

    @property
    def arrived_at_seconds(self) -> float:
        """Monotonic seconds at which the call arrived; the wait budget counts from it."""

    @property
    def owner(self) -> str:
        """Whose runs are meant."""

    @property
    def principal(self) -> Principal:
        """Who asks, with the accounts and limits that are theirs; its owner is `owner`."""

    @property
    def connection(self) -> str:
        """What the call came over; calls of one connection have the same."""

    @property
    def client(self) -> str:
        """What the client calls itself, cleaned; empty when it does not say."""

    @property
    def exchange(self) -> Exchange:
        """The request: it knows whether the client is disconnected, and whether the answer was written."""

    @property
    def is_progress_wanted(self) -> bool:
        """Whether progress is shown; otherwise no message is composed."""

    async def report(self, elapsed_seconds: float, message: str, /) -> None:
        """Report progress: a number that only grows, and a message for a person."""

    async def confirm(self, question: str, patience_seconds: float, /) -> Consent:
        """Ask the person a question and wait so many seconds for the answer."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an answer holds, and for whom."""

    run_id: str
    """The run or batch that it answers."""
    owner: str
    connection: str
    client: str = ""
    """The client, as it calls itself, cleaned."""
    call_id: str = ""
    """The call that is answered and waits no longer; empty when it was not on record as waiting."""
    shown: Sequence[str] = ()
    """The runs whose outputs it holds, the last one last."""
    is_unknown: bool = False
    """Whether it says that the outcome of the run is unknown."""


class DeliveredRuns:
    """Which runs were delivered over each connection, the newest last. Old connections are forgotten."""

    def __init__(self) -> None:
        self._delivered: dict[tuple[str, str], dict[str, None]] = {}

    def note(self, run_id: str, *, owner: str, connection: str) -> None:
        """Remember that an answer which holds the outputs of a run was written to a connection."""
        delivered = self._delivered.pop((owner, connection), {})
        delivered.pop(run_id, None)
        delivered[run_id] = None
        if len(delivered) > MAX_DELIVERED:
            del delivered[next(iter(delivered))]
        self._delivered[owner, connection] = delivered
        if len(self._delivered) > MAX_CONNECTIONS:
            del self._delivered[next(iter(self._delivered))]

    def has(self, run_id: str) -> bool:
        """Return whether a run was delivered over any connection of this process."""
        return any(run_id in runs for runs in self._delivered.values())

    def get(self, *, owner: str, connection: str) -> tuple[str, ...]:
        """Return the runs, the newest first."""
        return tuple(reversed(self._delivered.get((owner, connection), {})))


class Deliveries:
    """Turns what transports report of answers into events of runs."""

    def __init__(self, store: Store, clock: Clock, supervisor: Supervisor) -> None:
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self.delivered = DeliveredRuns()
        """What was delivered over the connections of this process."""
        self._pending: dict[_PendingAnswer, None] = {}
        """Answers that are not written yet, or whose delivery is not on record yet."""

    @property
    def pending_runs(self) -> Collection[str]:
        """The runs that are in answers on their way, which are not to be called undelivered."""
        return frozenset(pending.delivery.run_id for pending in self._pending)

    def expect(self, exchange: Exchange, delivery: Delivery) -> None:
        """Record a delivery once the answer to a request was written."""
        pending = _PendingAnswer(delivery, self)
        self._pending[pending] = None
        exchange.expect(pending)
        if exchange.listener is not pending:  # the client has gone
            self.note_left(pending)

    async def record_answer(self, run: Run, caller: Caller, *, call_id: str = "", shown: Sequence[str] = ()) -> None:
        """Record what a caller learns by an answer about a run or a batch: an end once the answer was written.

        Args:
            call_id: The call that is answered and is on record as waiting; empty for none.
            shown: The runs whose outputs the answer holds, the last one last.
        """
        if run.state.is_final:
            is_unknown = run.state is RunState.UNKNOWN
            who = (caller.owner, caller.connection, caller.client)
            delivery = Delivery(run.id, *who, call_id, tuple(shown), is_unknown=is_unknown)
            self.expect(caller.exchange, delivery)
            return
        try:
            await self._store.record(run.id, Reported(self._clock.now()), ended_call_id=call_id)
        except StoreError as exc:
            # The answer is given although it cannot be recorded that it was.
            logger.warning("the answer for run %s could not be recorded: %s", run.id, exc)

    def leave(self, call_id: str) -> None:
        """Record in the background that a call waits no longer."""
        self._supervisor.spawn(f"end of {call_id}", self._leave, call_id)

    def note_written(self, pending: "_PendingAnswer") -> float:
        """Record a delivery and return its instant."""
        trigger(Failpoint.AFTER_WRITTEN)
        delivery, at = pending.delivery, self._clock.now()
        for run_id in delivery.shown:
            self.delivered.note(run_id, owner=delivery.owner, connection=delivery.connection)
        boot = self._clock.boot_time()
        boot_id, boot_seconds = (boot.boot_id, boot.seconds) if boot else ("", None)
        event = Delivered(at, delivery.client, boot_id, boot_seconds, delivery.is_unknown)
        self._spawn(delivery, event, pending)
        return at

    def note_cancelled(self, delivery: Delivery, delivered_at: float) -> None:
        """Record that the request of a delivery was cancelled afterwards."""
        self._spawn(delivery, DeliveryCancelled(delivered_at))

    def note_left(self, pending: "_PendingAnswer") -> None:
        """Record that the call of an answer that is not written waits no longer."""
        self._forget(pending)
        if pending.delivery.call_id:
            self.leave(pending.delivery.call_id)

    def _forget(self, pending: "_PendingAnswer") -> None:
        self._pending.pop(pending, None)

    def _spawn(self, delivery: Delivery, event: RunEvent, pending: "_PendingAnswer | None" = None) -> None:
        self._supervisor.spawn(f"delivery of {delivery.run_id}", self._record, delivery, event, pending)

    async def _record(self, delivery: Delivery, event: RunEvent, pending: "_PendingAnswer | None") -> None:
        """Record an event of a delivery; its call waits no longer once the answer is no longer pending."""
        # Also at the end of the process, which comes when the client has read the last answer.
        with anyio.CancelScope(shield=True):
            try:
                ended_call_id = delivery.call_id if pending is not None else ""
                await self._store.record(delivery.run_id, event, ended_call_id=ended_call_id)
            except StoreError as exc:
                # It counts as undelivered, so an equal call gets the same result once more.
                logger.warning("that run %s was delivered could not be recorded: %s", delivery.run_id, exc)
            finally:
                if pending is not None:
                    self._forget(pending)

    async def _leave(self, call_id: str) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self._store.leave(call_id)
            except StoreError as exc:
                logger.warning("that a call waits no longer could not be recorded: %s", exc)


class _PendingAnswer:
    """The listener of one answer."""

    def __init__(self, delivery: Delivery, deliveries: Deliveries) -> None:
        self.delivery = delivery
        self._deliveries = deliveries
        self._delivered_at: float | None = None

    def note_written(self) -> None:
        """The answer was written."""
        self._delivered_at = self._deliveries.note_written(self)

    def note_cancelled(self) -> None:
        """The request was cancelled after that."""
        if self._delivered_at is not None:
            self._deliveries.note_cancelled(self.delivery, self._delivered_at)

    def note_left(self) -> None:
        """The client waits no longer; the answer may still be written if the request was only cancelled."""
        self._deliveries.note_left(self)
