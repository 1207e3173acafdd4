"""The calls that ask for runs: who makes them, which came just now over the same connection, and how each is paid.

A handler returns before its answer is written, so it cannot know whether it was. It registers a listener with the exchange,
and the transport reports whether the answer was written.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final, Protocol, TypeAlias

from flowport.domain.models import Urgency
from flowport.domain.spending import DAY_SECONDS, Consent, LimitExceeded, SpendingCheck, SpendingLimits
from flowport.runtime.clock import Clock
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

RequestId: TypeAlias = str | int

SIDE_BY_SIDE_SECONDS: Final = 10.0
"""Equal calls over one connection within this time, whose clients are all connected, are meant to be as many runs: people
ask for four variations."""

SettledOutcome: TypeAlias = Accepted | Joined | Uncertain | LimitExceeded


def _draw_id() -> str:
    return "call_" + secrets.token_hex(8)


class AnswerListener(Protocol):
    """Receives the reports about one answer."""

    def note_written(self) -> None:
        """The answer was written to the client."""

    def note_cancelled(self) -> None:
        """The client cancelled the request although its answer was written."""

    def note_left(self) -> None:
        """The client no longer waits, and the answer was not written."""


class _State(Enum):
    OPEN = auto()
    WRITTEN = auto()
    CANCELLED = auto()
    DISCONNECTED = auto()


class Exchange:
    """One request in progress. Its methods are called only on the event loop."""

    def __init__(self, request_id: RequestId | None = None) -> None:
        """Open an exchange; `request_id` is the client's id of the request."""
        self.request_id = request_id
        self._state = _State.OPEN
        self._listener: AnswerListener | None = None
        self._on_left: Callable[[], None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the client is connected and waits for the answer."""
        return self._state is _State.OPEN

    @property
    def is_written(self) -> bool:
        """Whether the answer was written to the client."""
        return self._state is _State.WRITTEN

    @property
    def is_disconnected(self) -> bool:
        """Whether the client disconnected or cancelled the request before it was answered."""
        return self._state in {_State.CANCELLED, _State.DISCONNECTED}

    @property
    def listener(self) -> AnswerListener | None:
        """The listener of this exchange; None if the answer delivers nothing."""
        return self._listener

    def set_on_left(self, on_left: Callable[[], None]) -> None:
        """Call `on_left` once if the client disconnects or cancels before the answer; immediately if it already has."""
        if self.is_disconnected:
            on_left()
        else:
            self._on_left = on_left

    def expect(self, listener: AnswerListener) -> None:
        """Register the listener for the answer that is about to be given to the transport."""
        if not self.is_disconnected:
            self._listener = listener

    def withdraw(self) -> None:
        """Remove the listener, because a different answer is given."""
        listener, self._listener = self._listener, None
        if listener is not None and self._state is not _State.WRITTEN:
            listener.note_left()

    def note_written(self) -> None:
        """Record that the transport wrote the answer."""
        before = self._state
        if before in {_State.WRITTEN, _State.DISCONNECTED}:
            return
        self._state = _State.WRITTEN
        self._on_left = None
        if self._listener is not None:
            self._listener.note_written()
            if before is _State.CANCELLED:
                self._listener.note_cancelled()

    def note_cancelled(self) -> None:
        """Record that the client cancelled the request. An answer on its way may still be written."""
        if self._state is _State.WRITTEN and self._listener is not None:
            self._listener.note_cancelled()
        self._leave(_State.CANCELLED)

    def note_disconnected(self) -> None:
        """Record that the client disconnected; nothing reaches it any more."""
        self._leave(_State.DISCONNECTED)
        if self._state is _State.CANCELLED:
            self._state = _State.DISCONNECTED
        if self._state is _State.DISCONNECTED:
            self._listener = None

    def _leave(self, state: _State) -> None:
        if self._state is not _State.OPEN:
            return
        self._state = state
        if self._listener is not None:
            self._listener.note_left()
        on_left, self._on_left = self._on_left, None
        if on_left is not None:
            on_left()


class Caller(Protocol):
    """Who asks, whatever the request came by: a protocol, a terminal or a page."""

    @property
    def arrived_at_seconds(self) -> float:
        """Monotonic seconds at which the call arrived; the wait budget counts from it."""

    @property
    def owner(self) -> str:
        """Whose runs are meant."""

    @property
    def connection(self) -> str:
        """What the call came over; calls of one connection have the same."""

    @property
    def client(self) -> str:
        """What the client calls itself, cleaned; empty when it does not say."""

    @property
    def exchange(self) -> Exchange:
        """The request: it knows whether the client is disconnected, and whether the answer was written."""

    async def report(self, elapsed_seconds: float, message: str, /) -> None:
        """Report progress: a number that only grows, and a message for a person."""

    async def confirm(self, question: str, patience_seconds: float, /) -> Consent:
        """Ask the person a question and wait so many seconds for the answer."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One call that asks for a run."""

    owner: str
    connection: str = ""
    """What it came over; calls of one connection have the same."""
    is_stopped_with_caller: bool = False
    """Whether its run is to be stopped, if it is not sent yet, when the caller leaves."""
    is_new_wanted: bool = False
    """Whether it joins no earlier run."""
    is_uncertainty_accepted: bool = False
    """Whether it is made although an equal run may have been started and its outcome is unknown."""
    is_price_agreed: bool = False
    """Whether the person was asked about the price and agreed."""
    urgency: Urgency = Urgency.WAITED
    """How soon what becomes of it is wanted; it decides who gets the next request of the budget."""
    exchange: Exchange = field(default_factory=Exchange, compare=False)
    """The request that makes the call; it tells whether the client is connected and waits."""
    id: str = field(default_factory=_draw_id)

    def accept_doubt(self) -> "RunRequest":
        """Return the same call, made in knowledge of the doubt."""
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
        self._calls: dict[str, tuple[float, RunRequest]] = {}
        """By id, with the monotonic seconds at which each was accepted."""

    async def accept(
        self, accept: Callable[[AttachRules], Awaitable[AcceptOutcome]], call: RunRequest, process: Workers
    ) -> SettledOutcome:
        """Have the store accept a call, and find out on the way what it needs to know of other processes.

        Args:
            accept: Records the call by these rules, or says which processes it must be known of whether they live.
        """
        processes, arrived_at = KnownProcesses(), self._clock.monotonic()
        while True:
            # Asked each time, as late as possible: a client that has disconnected meanwhile does not count.
            outcome = await accept(self._build_rules(call, process.process_id, processes, arrived_at))
            if not isinstance(outcome, LivenessNeeded):
                return outcome
            processes = processes.look_up(outcome.process_ids, process.is_alive)

    def _build_rules(
        self, call: RunRequest, process_id: str, processes: KnownProcesses, arrived_at: float
    ) -> AttachRules:
        """Return the rules for a call, and remember it for those that come after."""
        self._calls = {id_: kept for id_, kept in self._calls.items() if kept[1].exchange.is_open and id_ != call.id}
        beside = frozenset(
            id_
            for id_, (accepted_at, one) in self._calls.items()
            if one.connection == call.connection and arrived_at - accepted_at < SIDE_BY_SIDE_SECONDS
        )
        connected = frozenset(self._calls)
        self._calls[call.id] = (arrived_at, call)
        boot = self._clock.boot_time()
        return AttachRules(
            call=WaitingCall(call.id, process_id),
            window_seconds=self._window_seconds,
            at=self._clock.now(),
            boot_id=boot.boot_id if boot else "",
            boot_seconds=boot.seconds if boot else 0.0,
            connected_call_ids=connected,
            beside_call_ids=beside,
            processes=processes,
            is_new_wanted=call.is_new_wanted,
            is_uncertainty_accepted=call.is_uncertainty_accepted,
        )

    def build_terms(self, call: RunRequest) -> SpendingCheck:
        """Return the terms on which a call's run is paid."""
        boot = self._clock.boot_time()
        return SpendingCheck(
            self.spending_limits,
            since=self._clock.now() - DAY_SECONDS,
            boot_since=boot.subtract(DAY_SECONDS) if boot else None,
            is_agreed=call.is_price_agreed,
        )
