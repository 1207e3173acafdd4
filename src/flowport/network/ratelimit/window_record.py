"""The record of an account's requests, shared by every process of a home or owned by one. Pure.

Instants are seconds of one clock that cannot be set. What an earlier boot of the machine wrote is void, except what is
learned of the limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from flowport.network.ratelimit.learned_limit import NOTHING_LEARNED, WINDOW_SECONDS, LearnedLimit, move_instants

MARGIN_SECONDS: Final = 0.25
"""Added to the window, because a request leaves later than it is granted. How late it arrives is learned."""
SPAN_SECONDS: Final = WINDOW_SECONDS + MARGIN_SECONDS


class Counted(NamedTuple):
    """Requests that count until an instant."""

    until: float
    requests: int


class Waiter(NamedTuple):
    """A process that waits."""

    process_id: str
    rank: int
    requests: int
    """How many of this rank it waits for; not all of them when they are many."""
    since: float
    """When it began to wait or was last granted something: equals take turns."""
    until: float
    """From here on it does not count."""


class Quota(NamedTuple):
    """A limit that the provider reported."""

    left: int
    reset_at: float
    until: float
    """How long it is trusted. The person may raise a limit, so then one request at a time finds out."""


NO_QUOTA: Final = Quota(0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """The record of an account."""

    boot_id: str = ""
    seen_at: float = 0.0
    granted_at: float = -SPAN_SECONDS
    grants: tuple[Counted, ...] = ()
    """Those of the last minute, the oldest first."""
    day: tuple[Counted, ...] = ()
    """Those of the last day; only where the day has a limit."""
    waiting: tuple[Waiter, ...] = ()
    paused_until: float = 0.0
    paced_until: float = 0.0
    """Until then requests are spread over the minute."""
    learned: LearnedLimit = NOTHING_LEARNED
    delay: float = 0.0
    """How long answers took lately, at most. A provider counts a request between its departure and its response."""
    delay_until: float = 0.0
    row_granted_at: float = -SPAN_SECONDS
    urgent_until: float = 0.0
    """How long the window holds a request that a caller waits for."""
    minute_quota: Quota = NO_QUOTA
    day_quota: Quota = NO_QUOTA

    @property
    def used(self) -> int:
        """How many requests the last minute holds; of a record that was refreshed."""
        return sum(one.requests for one in self.grants)


def refresh(record: AccountRecord, *, boot_id: str, now: float) -> AccountRecord:
    """Return the record without what counts no more; only what was learned outlives a boot of the machine."""
    if record.boot_id != boot_id or now < record.seen_at:
        learned = move_instants(record.learned, written_at=record.seen_at, now=now)
        return AccountRecord(boot_id=boot_id, seen_at=now, learned=learned)
    return replace(
        record,
        seen_at=now,
        grants=_drop_past(record.grants, now - record.delay),
        day=_drop_past(record.day, now),
        waiting=tuple(waiter for waiter in record.waiting if waiter.until > now),
    )


def count_unrecorded(record: AccountRecord, grants: Sequence[Counted]) -> AccountRecord:
    """Count requests that were sent while the record was unavailable."""
    return replace(record, grants=tuple(sorted([*record.grants, *grants])))


def leave(record: AccountRecord, process_id: str) -> AccountRecord:
    """Remove a process from the waiters."""
    return replace(record, waiting=tuple(waiter for waiter in record.waiting if waiter.process_id != process_id))


def count_sent(record: AccountRecord, *, after: float, before: float) -> int:
    """Return how many requests were granted between two instants, without these."""
    return sum(one.requests for one in record.grants if after < one.until - SPAN_SECONDS < before)


def _drop_past(counted: tuple[Counted, ...], now: float) -> tuple[Counted, ...]:
    return tuple(one for one in counted if one.until > now)
