"""The calls that ask for runs: what each wishes, and which came just now over the same connection."""

import secrets
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

from flowport.clock import Clock
from flowport.ledger.interface import AttachRules, WaitingCall
from flowport.processes import ProcessLock

SIDE_BY_SIDE_SECONDS: Final = 10.0
"""Equal calls over one connection within this time are meant to be as many runs: people ask for four variations."""


_ID_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without the letters and digits that people mistake for one another."""

_ID_LENGTH: Final = 10


def draw_run_id() -> str:
    """Return a new id of a run."""
    # One number is drawn and written in the alphabet: a draw for each letter is a system call each.
    base = len(_ID_ALPHABET)
    number = secrets.randbelow(base**_ID_LENGTH)
    return "run_" + "".join(_ID_ALPHABET[number // base**place % base] for place in range(_ID_LENGTH))


def _draw_id() -> str:
    return "call_" + secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class RunCall:
    """One call that asks for a run."""

    owner: str
    connection: str = ""
    """What it came over; calls of one connection have the same."""
    is_new_wanted: bool = False
    """Whether it joins no earlier run."""
    is_doubt_accepted: bool = False
    """Whether it is made although an equal run may have been started and nobody knows."""
    id: str = field(default_factory=_draw_id)

    def accept_doubt(self) -> "RunCall":
        """Return the same call, made in knowledge of the doubt."""
        return replace(self, is_doubt_accepted=True)


class CallBook:
    """Remembers the calls of the last seconds, and makes the rules by which a call joins an earlier run."""

    def __init__(self, clock: Clock, *, window_seconds: float) -> None:
        """Begin empty; `window_seconds` is how long a run can be joined, 0 for never."""
        self._clock = clock
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
