"""Submit a run or a batch for a caller: prepare it, ask the person where needed, have the store accept it, and begin it."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Generic, Protocol, TypeAlias, TypeVar, assert_never

import anyio

from flowport.domain.call_errors import NotConfirmed, PriceUnconfirmed, UncertainStart
from flowport.domain.errors import FlowportError, StoreError
from flowport.domain.models import Run, Urgency
from flowport.domain.spending import DAY_SECONDS, Consent, LimitExceeded, SpendingCheck, SpendingLimits, combine_limits
from flowport.network.account import OpenAccount
from flowport.runs.delivery import Caller, Deliveries
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Clock
from flowport.runtime.exchange import Exchange
from flowport.store.interface import Workers
from flowport.store.records import (
    Accepted,
    AcceptOutcome,
    AttachRules,
    Joined,
    KnownProcesses,
    LivenessNeeded,
    Uncertain,
    WaitingCall,
)

MAX_RUNS_SUBMITTED: Final = 5
"""Calls that are prepared and recorded side by side. More would not be done sooner, and a quick request would wait."""

MAX_BATCHES_SUBMITTED: Final = 2
"""Batches that are checked side by side: each may have thousands of rows."""

P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)


SIDE_BY_SIDE_SECONDS: Final = 10.0
"""Equal calls of connected clients over one connection within this time are meant as several runs: four variations."""

SettledOutcome: TypeAlias = Accepted | Joined | Uncertain | LimitExceeded


def _draw_id() -> str:
    return "call_" + secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One call that asks for a run."""

    owner: str
    connection: str = ""
    """What it came over; calls of one connection have the same."""
    is_local: bool = True
    """Whether files may be named by the paths of this computer."""
    max_file_bytes: int | None = None
    """What the files of its owner may occupy for a new run to be accepted; None for any size."""
    is_stopped_with_caller: bool = False
    """Whether its run is to be stopped, if it is not sent yet, when the caller leaves."""
    is_new_wanted: bool = False
    """Whether it joins no earlier run."""
    is_uncertainty_accepted: bool = False
    """Whether it is made although an equal run may have been started and its outcome is unknown."""
    is_price_agreed: bool = False
    """Whether the person was asked about the price and agreed."""
    own_limits: SpendingLimits | None = None
    """The person's own spending limits; None for those of the settings."""
    urgency: Urgency = Urgency.WAITED
    """How soon what becomes of it is wanted; it decides who gets the next request of the budget."""
    exchange: Exchange = field(default_factory=Exchange, compare=False)
    """The request that makes the call; it knows whether the client is connected and waits."""
    id: str = field(default_factory=_draw_id)

    def accept_uncertainty(self) -> "RunRequest":
        """Return the same call, made although an equal run may have been started."""
        return replace(self, is_uncertainty_accepted=True)

    def agree_to_price(self) -> "RunRequest":
        """Return the same call, whose price the person has agreed to."""
        return replace(self, is_price_agreed=True)


class RecentRequests:
    """Remembers the calls whose clients wait, and makes the rules by which a call joins an earlier run."""

    def __init__(self, clock: Clock, *, window_seconds: float, spending_limits: SpendingLimits | None = None) -> None:
        """Begin empty; `window_seconds` is how long a run can be joined, 0 for never. Without limits nothing is refused for its price."""
        self._clock = clock
        self.spending_limits = spending_limits or SpendingLimits()
        self._window_seconds = window_seconds
        self._open: dict[str, dict[str, tuple[float, str]]] = {}
        """By a digest of what they ask for, the calls whose clients wait: when each was accepted, and its connection."""

    async def accept(
        self,
        accept: Callable[[AttachRules], Awaitable[AcceptOutcome]],
        run: Run,
        call: RunRequest,
        process: Workers,
    ) -> SettledOutcome:
        """Have the store accept a call, and find out on the way what it needs to know of other processes.

        Args:
            accept: Records the call by these rules, or says which processes it must be known of whether they live.
        """
        processes, arrived_at = KnownProcesses(), self._clock.monotonic()
        while True:
            # Asked each time, as late as possible: a client that has disconnected meanwhile does not count.
            outcome = await accept(self._build_rules(run, call, process.process_id, processes, arrived_at))
            if not isinstance(outcome, LivenessNeeded):
                return outcome
            processes = processes.look_up(outcome.process_ids, process.is_alive)

    def _build_rules(
        self, run: Run, call: RunRequest, process_id: str, processes: KnownProcesses, arrived_at: float
    ) -> AttachRules:
        """Return the rules for a call, which name the open calls that ask for the same, and remember it for later ones."""
        digests = {run.raw_digest, run.canonical_digest}
        equal = self._open.get(run.raw_digest, {}) | self._open.get(run.canonical_digest, {})
        equal.pop(call.id, None)
        beside = frozenset(
            id_
            for id_, (accepted_at, connection) in equal.items()
            if connection == call.connection and arrived_at - accepted_at < SIDE_BY_SIDE_SECONDS
        )
        if call.exchange.is_open:
            for digest in digests:
                self._open.setdefault(digest, {})[call.id] = (arrived_at, call.connection)
            call.exchange.set_on_closed(partial(self._forget, call.id, digests))
        boot = self._clock.boot_time()
        return AttachRules(
            call=WaitingCall(call.id, process_id),
            window_seconds=self._window_seconds,
            at=self._clock.now(),
            boot_id=boot.boot_id if boot else "",
            boot_seconds=boot.seconds if boot else 0.0,
            connected_call_ids=frozenset(equal),
            beside_call_ids=beside,
            processes=processes,
            is_new_wanted=call.is_new_wanted,
            is_uncertainty_accepted=call.is_uncertainty_accepted,
        )

    def _forget(self, call_id: str, digests: Collection[str]) -> None:
        """Forget a call whose client no longer waits."""
        for digest in digests:
            calls = self._open.get(digest, {})
            calls.pop(call_id, None)
            if not calls:
                self._open.pop(digest, None)

    def build_terms(self, call: RunRequest) -> SpendingCheck:
        """Return the terms on which a call's run is paid."""
        boot = self._clock.boot_time()
        return SpendingCheck(
            combine_limits(self.spending_limits, call.own_limits),
            since=self._clock.now() - DAY_SECONDS,
            boot_since=boot.subtract(DAY_SECONDS) if boot else None,
            is_agreed=call.is_price_agreed,
            own=call.own_limits,
            max_file_bytes=call.max_file_bytes,
        )


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a call that was submitted."""

    run: Run
    is_joined: bool
    """Whether the run is an earlier call's."""


@dataclass(frozen=True, slots=True)
class Offer(Generic[P]):
    """A prepared run or batch."""

    prepared: P
    price: PriceUnconfirmed | None
    """What the person is to be asked about its price; None for nothing."""


class Watcher(Protocol):
    """Follows a call as it is submitted, for a person who looks on."""

    def note_price(self, price_credits: float | None, runs: int) -> None:
        """The call is checked and priced, and not submitted yet; None for an unknown price of all its runs together."""
        ...

    def note_run(self, run: Run, *, is_joined: bool) -> None:
        """The call has its run or batch."""
        ...


class NoWatcher:
    """Ignores it: the client of a protocol learns of it by the answer."""

    def note_price(self, price_credits: float | None, runs: int) -> None:
        """Ignore the price."""

    def note_run(self, run: Run, *, is_joined: bool) -> None:
        """Ignore the run."""


UNWATCHED: Final = NoWatcher()


class Service(Protocol[P_contra]):
    """What accepts prepared runs or batches and carries them out."""

    async def submit(self, prepared: P_contra, request: RunRequest, /) -> Submission:
        """Accept it, or join the one that it repeats."""

    def stop_unwanted(self, run: Run, request: RunRequest, /) -> None:
        """Stop what a disconnected caller started, as far as that is possible."""


class Submitter(Generic[P]):
    """Submits so many calls side by side; when hundreds come at once, the others wait for a place."""

    def __init__(
        self, service: Service[P], deliveries: Deliveries, clock: Clock, wait_seconds: float, places: int
    ) -> None:
        """Prepare; `wait_seconds` is how long a call waits from its arrival."""
        self._service = service
        self._deliveries = deliveries
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._places = anyio.CapacityLimiter(places)

    @asynccontextmanager
    async def submit(
        self, prepare: Callable[[RunRequest, Caller], Awaitable[Offer[P]]], request: RunRequest, caller: Caller
    ) -> AsyncIterator[Submission]:
        """Give what became of a call; a caller that is disconnected or refused inside waits no longer.

        Args:
            prepare: Checks and prices the run or batch; nothing is started.

        Raises:
            ConfirmationNeeded: The client asks the person when the call is answered with the question.
            NotConfirmed: The person does not want it.
            FlowportError: It cannot be accepted.
        """
        submission: Submission | None = None
        try:
            submission = await self._submit(prepare, request, caller)
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

    async def _submit(
        self, prepare: Callable[[RunRequest, Caller], Awaitable[Offer[P]]], request: RunRequest, caller: Caller
    ) -> Submission:
        uncertain: UncertainStart | None = None
        async with self._places:
            offer = await prepare(request, caller)
            price = offer.price
            try:
                return await self._service.submit(offer.prepared, request)
            except PriceUnconfirmed as exc:
                price = exc
            except UncertainStart as exc:
                if not request.is_new_wanted:
                    raise
                uncertain = exc
        # The same offer is submitted again, so the price that was agreed to is the one that is paid.
        request = await self._ask(uncertain, price, request, caller)
        async with self._places:
            return await self._service.submit(offer.prepared, request)

    async def _ask(
        self, uncertain: UncertainStart | None, price: PriceUnconfirmed | None, request: RunRequest, caller: Caller
    ) -> RunRequest:
        """Ask the person once, about everything, and return the request with what they agreed to."""
        question = " ".join(one.question for one in (uncertain, price) if one is not None)
        patience_seconds = caller.arrived_at_seconds + self._wait_seconds - self._clock.monotonic()
        consent = await caller.confirm(question, max(0.0, patience_seconds))
        if consent is Consent.REFUSED:
            raise NotConfirmed(question) from uncertain or price
        if price is not None:
            if consent is Consent.CANNOT_ASK:
                raise price
            request = request.agree_to_price()
        return request if uncertain is None else request.accept_uncertainty()


@dataclass(slots=True)
class _Ticket:
    """A call that is being accepted. Its handler may be gone; what became of the call then stays unread."""

    run: Run
    request: RunRequest
    accept: Callable[[AttachRules], Awaitable[AcceptOutcome]]
    begin: Callable[..., Awaitable[None]]
    on_crash: Callable[[], Awaitable[None]]
    is_settled: anyio.Event = field(default_factory=anyio.Event)
    """Set when the store has the run or could not take it."""
    error: FlowportError | None = None
    """Why the store does not have the run; None when it has."""
    joined: Run | None = None
    """The earlier run that the call has joined; None when it got its own."""
    is_unwanted: bool = False
    """Whether the caller has left and wanted its run to be stopped with it."""


@dataclass(frozen=True, slots=True)
class Acceptor:
    """Has the store accept runs and batches. What it has accepted begins, also when the caller has stopped waiting."""

    accounts: Mapping[str, OpenAccount]
    supervisor: Supervisor
    process: Workers
    requests: RecentRequests

    async def submit(
        self,
        run: Run,
        request: RunRequest,
        *,
        accept: Callable[..., Awaitable[AcceptOutcome]],
        begin: Callable[..., Awaitable[None]],
        on_crash: Callable[[], Awaitable[None]],
    ) -> Submission:
        """Accept a run or batch and begin it in the background; return once it is recorded, or the one that it joins.

        Args:
            accept: Asks the store, by the rules for joining and the spending limits.
            begin: Begins what was accepted; `is_unwanted` says that its caller has left and wanted it stopped.
            on_crash: Wakes those who wait for the run.

        Raises:
            StoreError: It could not be recorded, so nothing is sent.
            UncertainStart: An equal run may have been started.
            PriceUnconfirmed: The user has to agree to the price first.
            RunCapReached, DayCapReached, MonthCapReached, AccountCapReached, PriceUnknown: The limits forbid it.
        """
        accept = partial(accept, terms=self.requests.build_terms(request))
        ticket = _Ticket(run, request, accept, begin, on_crash)
        self.supervisor.spawn(f"run {run.id}", self._carry_out, ticket, on_crash=partial(self._give_up, ticket))
        try:
            await ticket.is_settled.wait()
        except anyio.get_cancelled_exc_class():
            # The caller will not learn which run is its own, so it cannot cancel it.
            ticket.is_unwanted = request.is_stopped_with_caller
            raise
        if ticket.error is not None:
            raise ticket.error
        return Submission(ticket.joined or run, is_joined=ticket.joined is not None)

    async def _carry_out(self, ticket: _Ticket) -> None:
        """Accept the run, answer the handler, and begin."""
        await self._settle(ticket)
        ticket.is_settled.set()
        if ticket.error is None and ticket.joined is None:
            await ticket.begin(is_unwanted=ticket.is_unwanted)

    async def _give_up(self, ticket: _Ticket) -> None:
        """Answer the handler and those who wait."""
        if not ticket.is_settled.is_set():
            ticket.error = StoreError("Flowport made a mistake", "Its log has the details.")
            ticket.is_settled.set()
        await ticket.on_crash()

    async def _settle(self, ticket: _Ticket) -> None:
        try:
            outcome = await self.requests.accept(ticket.accept, ticket.run, ticket.request, self.process)
        except StoreError as exc:
            ticket.error = exc
            return
        match outcome:
            case Accepted():
                pass
            case Joined(earlier):
                ticket.joined = earlier
            case Uncertain(earlier):
                account = self.accounts.get(earlier.account_id)
                title = account.provider.title if account else earlier.provider
                sent_at = earlier.starting_at or earlier.accepted_at
                is_for_batch = ticket.run.is_batch
                ticket.error = UncertainStart(title, earlier.id, sent_at, earlier.failure, is_for_batch=is_for_batch)
            case LimitExceeded(reason):
                ticket.error = reason
            case _:
                assert_never(outcome)
