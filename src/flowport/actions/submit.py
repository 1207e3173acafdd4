"""Submit a call, asking the person first where that is needed; and note what its caller learnt by the answer."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio

from flowport.actions.waiting import Caller
from flowport.actions.workspace import Workspace
from flowport.domain.errors import FlowportError, StoreError
from flowport.domain.models import Run, RunState
from flowport.domain.run_events import Reported
from flowport.domain.spending import Consent, NotConfirmed, UncertainStart
from flowport.domain.spending_errors import PriceUnconfirmed
from flowport.runs.accept import Submission
from flowport.runs.calls import RunRequest
from flowport.runs.delivery import Delivery

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """A prepared call, be it for a run or for a batch."""

    submit: Callable[[RunRequest], Awaitable[Submission]]
    """Submits it, always the same call: so the price that was agreed to is the one that is paid."""
    price: PriceUnconfirmed | None
    """What the person is to be asked about its price; None when nothing."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What the person is asked before a run; a run may be in doubt and dear at once."""

    doubt: UncertainStart | None
    price: PriceUnconfirmed | None

    @property
    def text(self) -> str:
        """Everything in one, because a person is asked once."""
        return " ".join(one.question for one in (self.doubt, self.price) if one is not None)

    @property
    def cause(self) -> FlowportError | None:
        """What asked first."""
        return self.doubt or self.price


class Submitter:
    """Prepares and submits so many calls side by side. When hundreds come at once the others wait for a place."""

    def __init__(self, workspace: Workspace, places: int) -> None:
        self._workspace = workspace
        self._places = anyio.CapacityLimiter(places)

    async def submit(self, prepare: Callable[[], Awaitable[Offer]], origin: RunRequest, caller: Caller) -> Submission:
        """Return what became of a call.

        Raises:
            ConfirmationNeeded: The client asks the person when the call is answered with the question.
            NotConfirmed: The person does not want it.
            FlowportError: It cannot be accepted.
        """
        async with self._places:
            offer = await prepare()
            found = await self._try(offer, origin)
        return found if isinstance(found, Submission) else await self._ask_first(found, offer, origin, caller)

    async def _try(self, offer: Offer, origin: RunRequest) -> Submission | _Question:
        """Submit; return what the person has to be asked first, be it about a price or about another run in doubt."""
        try:
            return await offer.submit(origin)
        except PriceUnconfirmed as exc:
            return _Question(None, exc)
        except UncertainStart as exc:
            if not origin.is_new_wanted:
                raise
            return _Question(exc, offer.price)

    async def _ask_first(self, asked: _Question, offer: Offer, origin: RunRequest, caller: Caller) -> Submission:
        """Ask the person, and submit with what they agreed to. Others are not kept from submitting meanwhile."""
        patience = caller.arrived_at_seconds + self._workspace.settings.wait_seconds - self._workspace.clock.monotonic()
        consent = await caller.ask(asked.text, max(0.0, patience))
        if consent is Consent.REFUSED:
            raise NotConfirmed(asked.text) from asked.cause
        if asked.price is not None:
            if consent is Consent.CANNOT_ASK:
                raise asked.price
            origin = origin.agree_to_price()
        if asked.doubt is not None:
            origin = origin.accept_doubt()
        async with self._places:
            return await offer.submit(origin)


async def note_cancelled(workspace: Workspace, run: Run, caller: Caller) -> None:
    """Note that the caller learns of a run's or batch's end by the answer that it is cancelled: there is no more to see."""
    if run.state is RunState.CANCELLED:
        await note_learnt(workspace, run, caller, RunRequest(caller.owner), shown=())


async def note_learnt(
    workspace: Workspace, run: Run, caller: Caller, origin: RunRequest, *, shown: Sequence[str]
) -> None:
    """Have it recorded what the caller learns by an answer about a run or a batch: an end once the answer was written.

    Args:
        shown: The runs whose outputs it holds, the last one last.
    """
    if run.state.is_final:
        delivery = Delivery(run.id, caller.owner, caller.connection, caller.client, origin.id, tuple(shown))
        workspace.deliveries.expect(caller.exchange, delivery)
        return
    try:
        await workspace.store.record(run.id, Reported(workspace.clock.now()), ended_call_id=origin.id)
    except StoreError as exc:
        # The answer is in hand: it is given although the note that it was cannot be made.
        logger.warning("the answer for run %s could not be noted: %s", run.id, exc)
