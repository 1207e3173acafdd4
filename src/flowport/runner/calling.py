"""The calls that ask for runs: what each wishes, which came just now over the same connection, on what terms it pays."""

import secrets
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

from flowport.clock import Clock
from flowport.ledger.records import AttachRules, WaitingCall
from flowport.model import Urgency
from flowport.processes import ProcessLock
from flowport.purse import DAY_SECONDS, PurseRules, PurseTerms

SIDE_BY_SIDE_SECONDS: Final = 10.0
"""Equal calls over one connection within this time are meant to be as many runs: people ask for four variations."""


def _draw_id() -> str:
    return "call_" + secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class RunCall:
    """One call that asks for a run."""

    owner: str
    connection: str = ""
    """What it came over; calls of one connection have the same."""
    is_stopped_with_caller: bool = False
    """Whether its run is to be stopped, if it is not sent yet, when the caller leaves."""
    is_new_wanted: bool = False
    """Whether it joins no earlier run."""
    is_doubt_accepted: bool = False
    """Whether it is made although an equal run may have been started and nobody knows."""
    is_price_agreed: bool = False
    """Whether the person was asked about the price and agreed."""
    urgency: Urgency = Urgency.WAITED
    """How soon what becomes of it is wanted; it decides who gets the next request of the budget."""
    id: str = field(default_factory=_draw_id)

    def accept_doubt(self) -> "RunCall":
        """Return the same call, made in knowledge of the doubt."""
        return replace(self, is_doubt_accepted=True)

    def agree_to_price(self) -> "RunCall":
        """Return the same call, whose price the person has agreed to."""
        return replace(self, is_price_agreed=True)


class CallBook:
    """Remembers the calls of the last seconds, and makes the rules by which a call joins an earlier run."""

    def __init__(self, clock: Clock, *, window_seconds: float, purse: PurseRules | None = None) -> None:
        """Begin empty; `window_seconds` is how long a run can be joined, 0 for never. Without a purse all is paid."""
        self._clock = clock
        self.purse = purse or PurseRules()
        self._window_seconds = window_seconds
        self._recent: deque[tuple[float, RunCall]] = deque()

    def build_rules(self, call: RunCall, process: ProcessLock) -> AttachRules:
        """Return the rules for a call, and remember it for those that come after."""
        arrived_at = self._clock.monotonic()
        while self._recent and arrived_at - self._recent[0][0] >= SIDE_BY_SIDE_SECONDS:
            self._recent.popleft()
        recent = frozenset(one.id for _, one in self._recent if one.connection == call.connection)
        self._recent.append((arrived_at, call))
        boot = self._clock.boot_time()
        return AttachRules(
            call=WaitingCall(call.id, process.process_id),
            window_seconds=self._window_seconds,
            is_alive=process.is_alive,
            at=self._clock.now(),
            boot_id=boot.boot_id if boot else "",
            boot_seconds=boot.seconds if boot else 0.0,
            recent_call_ids=recent,
            is_new_wanted=call.is_new_wanted,
            is_doubt_accepted=call.is_doubt_accepted,
        )

    def build_terms(self, call: RunCall) -> PurseTerms:
        """Return the terms on which a call's run is paid."""
        boot = self._clock.boot_time()
        return PurseTerms(
            self.purse,
            since=self._clock.now() - DAY_SECONDS,
            boot_since=boot.subtract(DAY_SECONDS) if boot else None,
            is_agreed=call.is_price_agreed,
        )
