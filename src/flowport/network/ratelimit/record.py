"""The record of an account's requests, and what a provider's refusals and reported quotas change in it. Pure.

It is shared by every process of a home or owned by one. Instants are seconds of one clock that cannot be set. What an
earlier boot of the machine wrote is void, except what is learned of the limit.

A 429 pauses all programs for as long as it says, and for two minutes afterwards requests are spread, so that none is
refused for a burst. How it changes the limit, and what an accepted probe does, is in `learned_limit`. A request that took
a second to arrive counts at the provider a second longer than here, and the next may be faster: so the window is longer
by the time that responses take.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from flowport.network.ratelimit.learned_limit import (
    NOTHING_LEARNED,
    WINDOW_SECONDS,
    LearnedLimit,
    Limits,
    move_instants,
    note_accepted,
    note_refused,
)

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


PACED_SECONDS: Final = 120.0
"""For how long after a pause requests are spread."""

MIN_PAUSE_SECONDS: Final = 1.0
"""The shortest pause: several requests that were refused together count as one refusal."""

MAX_REPEATED_PAUSE_SECONDS: Final = 60.0
"""A refusal within a minute after a pause doubles the pause, up to this."""

FAR_SECONDS: Final = 120.0
"""A reset that is further away is the day's and not the minute's."""

MAX_DELAY_SECONDS: Final = 2.0
"""What takes longer than that was slow at the provider, and not on its way."""

DELAY_KEPT_SECONDS: Final = 2 * SPAN_SECONDS

_TOLERANCE_SECONDS: Final = 1e-6
"""What adding and subtracting instants may lose."""
_ROUNDING_SECONDS: Final = 0.1
"""How late an instant may be on record."""

TRUST_SECONDS: Final = 3600.0
"""How long a day counts as used up before one request asks again: the person may have raised the limit."""


def note_refusal(
    record: AccountRecord, limits: Limits, *, seconds: float, age_seconds: float = 0.0, is_probe: bool = False
) -> AccountRecord:
    """Rest for so long, because the provider answered 429; go on more slowly.

    A refusal because the day is used up changes nothing: requests wait for the next day.

    Args:
        age_seconds: How long ago the refused request was sent. One that left before the last refusal came is of the same
            burst, and adds nothing.
        is_probe: Whether it was the probe.
    """
    now = record.seen_at
    if now < record.day_quota.until and not record.day_quota.left:
        return record
    learned, sent_at = record.learned, now - age_seconds
    is_known = now < record.paused_until or (bool(learned.retry_seconds) and sent_at <= learned.refused_at)
    # A longer pause than a minute's limit needs is about something else, as a limit of the day or the hour.
    if not is_known and seconds <= FAR_SECONDS:
        accepted = max(0, count_sent(record, after=now - WINDOW_SECONDS, before=sent_at + _TOLERANCE_SECONDS) - 1)
        if now < record.paused_until + WINDOW_SECONDS and learned.refused_at < record.paused_until:
            seconds = max(seconds, min(2 * (record.paused_until - learned.refused_at), MAX_REPEATED_PAUSE_SECONDS))
        learned = note_refused(learned, limits, accepted=accepted, is_probe=is_probe, now=now)
    paused_until = max(record.paused_until, now + max(seconds, MIN_PAUSE_SECONDS))
    return replace(record, paused_until=paused_until, paced_until=paused_until + PACED_SECONDS, learned=learned)


def note_answered_probe(record: AccountRecord, limits: Limits, *, probed_at: float, used: int) -> AccountRecord:
    """Raise the limit after a probe was accepted: it proves the requests that the provider has counted by now.

    These were sent within the minute before the answer, and so long before the probe that they have arrived.
    """
    now = record.seen_at
    proof = 1 + count_sent(record, after=now - WINDOW_SECONDS + _ROUNDING_SECONDS, before=probed_at - record.delay)
    return replace(
        record, learned=note_accepted(record.learned, limits, probed_at=probed_at, used=used, proof=proof, now=now)
    )


def note_delay(record: AccountRecord, *, seconds: float) -> AccountRecord:
    """Keep how long an answer took, for as long as requests like it count, unless another took longer."""
    seconds = min(seconds, MAX_DELAY_SECONDS)
    if seconds < record.delay and record.seen_at < record.delay_until:
        return record
    return replace(record, delay=seconds, delay_until=record.seen_at + DELAY_KEPT_SECONDS)


def note_quota(record: AccountRecord, *, left: int, reset_seconds: float) -> AccountRecord:
    """Keep a quota that a response reported: the newest counts, until its reset."""
    reset_at = record.seen_at + reset_seconds
    if reset_seconds <= FAR_SECONDS:
        return replace(record, minute_quota=Quota(left, reset_at, reset_at))
    return replace(record, day_quota=Quota(left, reset_at, min(reset_at, record.seen_at + TRUST_SECONDS)))
