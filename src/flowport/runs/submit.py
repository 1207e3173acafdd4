"""Submit a run or a batch for a caller: prepare it, ask the person first where that is needed, and stop it with its caller."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import anyio

from flowport.domain.errors import FlowportError
from flowport.domain.models import Run
from flowport.domain.spending import Consent, NotConfirmed, UncertainStart
from flowport.domain.spending_errors import PriceUnconfirmed
from flowport.runs.accept import Submission
from flowport.runs.calls import Caller, RunRequest
from flowport.runs.delivery import Deliveries
from flowport.runs.waiting import Waiter

MAX_RUNS_SUBMITTED: Final = 5
"""Calls that are prepared and recorded side by side. More would not be done sooner: each would only wait longer for the
store, and so would a quick request."""

MAX_BATCHES_SUBMITTED: Final = 2
"""Batches that are checked side by side: each may have thousands of rows."""

P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Offer(Generic[P]):
    """A prepared run or batch."""

    prepared: P
    price: PriceUnconfirmed | None
    """What the person is to be asked about its price; None for nothing."""


class Preparation(Protocol[P]):
    """What can be prepared: the app and the arguments of a call."""

    async def prepare(self, request: RunRequest, caller: Caller) -> Offer[P]:
        """Check and price it; nothing is started."""
        ...


class Service(Protocol[P_contra]):
    """What accepts prepared runs or batches and carries them out."""

    async def submit(self, prepared: P_contra, request: RunRequest, /) -> Submission:
        """Accept it, or join the one that it repeats."""
        ...

    def stop_unwanted(self, run: Run, request: RunRequest, /) -> None:
        """Stop what a disconnected caller started, as far as that is possible."""
        ...


class Submitter(Generic[P]):
    """Submits so many calls side by side; when hundreds come at once, the others wait for a place."""

    def __init__(self, service: Service[P], deliveries: Deliveries, waiter: Waiter, *, places: int) -> None:
        self._service = service
        self._deliveries = deliveries
        self._waiter = waiter
        self._places = anyio.CapacityLimiter(places)

    @asynccontextmanager
    async def submit(
        self, preparation: Preparation[P], request: RunRequest, caller: Caller
    ) -> AsyncIterator[Submission]:
        """Give what became of a call; a caller that is disconnected or refused inside waits no longer.

        Raises:
            ConfirmationNeeded: The client asks the person when the call is answered with the question.
            NotConfirmed: The person does not want it.
            FlowportError: It cannot be accepted.
        """
        submission: Submission | None = None
        try:
            submission = await self._submit(preparation, request, caller)
            yield submission
        except anyio.get_cancelled_exc_class():
            if submission is not None and request.is_stopped_with_caller:
                self._service.stop_unwanted(submission.run, request)
            else:
                self._deliveries.leave(request.id)
            raise
        except FlowportError:
            self._deliveries.leave(request.id)
            raise

    async def _submit(self, preparation: Preparation[P], request: RunRequest, caller: Caller) -> Submission:
        doubt: UncertainStart | None = None
        async with self._places:
            offer = await preparation.prepare(request, caller)
            price = offer.price
            try:
                return await self._service.submit(offer.prepared, request)
            except PriceUnconfirmed as exc:
                price = exc
            except UncertainStart as exc:
                if not request.is_new_wanted:
                    raise
                doubt = exc
        # The same offer is submitted again, so the price that was agreed to is the one that is paid.
        request = await self._ask(doubt, price, request, caller)
        async with self._places:
            return await self._service.submit(offer.prepared, request)

    async def _ask(
        self, doubt: UncertainStart | None, price: PriceUnconfirmed | None, request: RunRequest, caller: Caller
    ) -> RunRequest:
        """Ask the person once, about everything, and return the request with what they agreed to."""
        question = " ".join(one.question for one in (doubt, price) if one is not None)
        patience_seconds = self._waiter.get_deadline(caller) - self._waiter.clock.monotonic()
        consent = await caller.confirm(question, max(0.0, patience_seconds))
        if consent is Consent.REFUSED:
            raise NotConfirmed(question) from doubt or price
        if price is not None:
            if consent is Consent.CANNOT_ASK:
                raise price
            request = request.agree_to_price()
        return request if doubt is None else request.accept_doubt()
