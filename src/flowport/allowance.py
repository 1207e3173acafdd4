"""How many requests an account may send at a moment. Pure: a record and an instant go in, a record and a reply come out.

The record is what every process of a home shares of an account, or what one process has by itself. Requests are taken
for those who wait at that moment, so nobody ever holds one that is unused; a process that dies leaves those that it
took to run out with the window. Who waits is on record too, for a quarter of a minute at a time: so the urgent of one
process go before the others of another, and equals take turns.

Instants are seconds of one clock that nobody sets; what an earlier boot of the machine wrote is void.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Final, NamedTuple

WINDOW_SECONDS: Final = 60.0
MARGIN_SECONDS: Final = 0.25
"""Added to the window, because a request leaves later than it is granted. How late it arrives is learnt."""
SPAN_SECONDS: Final = WINDOW_SECONDS + MARGIN_SECONDS

DAY_SECONDS: Final = 86_400.0

ROW_HASTE: Final = 4.0
"""How much faster than the limit allows for long rows may go for a while. A burst that outran its own answers would look
at rows whose places, when they turn out to be free, find no request left to start the next with."""

KEPT_PARTS: Final = 25
"""Rows leave so small a part of the window to whoever may come and wait, spread over it: the first request of these at
once, the last when the window is nearly over. What is freed until then need not be left."""

KEPT_PARTS_URGENT: Final = 5
"""And so great a part once somebody has: a run that is waited for needs more than its start."""

BATCH_PARTS: Final = 8
"""At most so small a part of the limit is taken at once, so that several processes come in turn."""

NAP_SECONDS: Final = 15.0
"""The longest that a process waits before it asks again, and says thereby that it still waits."""
GRACE_SECONDS: Final = 1.0
"""How long others keep its place when it does not come; it may be busy, or dead."""

DAY_RESERVE_PARTS: Final = 20
"""This part of a day is kept for looks at runs that are paid for already."""

PROBE_SECONDS: Final = 60.0
"""How long a request that is to find out whether the day goes on has for its answer."""

RAISE_SECONDS: Final = 60.0
"""How often a lowered limit is raised, by an eighth of the whole."""

MAX_EXACT_LIMIT: Final = 600
"""Above it instants are kept to a tenth of a second, so that no record grows without end."""

_DAY_STEP_SECONDS: Final = 1800.0
"""How exactly the requests of a day are counted."""
_TOLERANCE_SECONDS: Final = 1e-6
"""What adding and subtracting instants may lose."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account may send; 0 for no limit."""

    per_minute: int
    per_day: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """One request that somebody waits for."""

    rank: int
    """Smaller is sooner."""
    share: float = 1.0
    """The part of the window that this and all before it may fill."""
    is_row: bool = False
    """Whether it is for a row of a batch; these go one by one and leave something to whoever comes."""
    is_urgent: bool = False
    """Whether somebody waits for what it is for."""
    is_paid_for: bool = False
    """Whether it is a look at a run that costs already; others are refused when the day is used up, and it waits."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a process asks for."""

    process_id: str
    limits: Limits
    wishes: Sequence[Wish]
    """Those who wait there, the first of them first; at least one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of it."""

    granted: int
    """How many of the wishes, from the first on, may be sent now."""
    again_seconds: float
    """When to ask for the next, at the latest in `NAP_SECONDS`; infinity when there is none."""
    ready_seconds: float = 0.0
    """When the next may be sent as things are; 0 when there is none."""
    resumes_seconds: float | None = None
    """When the day goes on that is used up for whatever is not paid for; None when it is not used up."""
    is_told: bool = False
    """Whether that is the provider's word; else it is our own count."""


class Counted(NamedTuple):
    """Requests that count until an instant."""

    until: float
    requests: int


class Rival(NamedTuple):
    """A process that waits."""

    process_id: str
    rank: int
    requests: int
    """How many of this rank it waits for; not all of them when they are many."""
    since: float
    """When it began to wait or got something last: equals take turns."""
    until: float
    """From here on it does not count."""


class Quota(NamedTuple):
    """What the provider has told of a limit of its own."""

    left: int
    reset_at: float
    until: float
    """How long it is believed. The person may raise a limit there, so then one request at a time finds out."""


NOTHING_TOLD: Final = Quota(0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """What is on record of an account."""

    boot_id: str = ""
    seen_at: float = 0.0
    granted_at: float = -SPAN_SECONDS
    grants: tuple[Counted, ...] = ()
    """Those of the last minute, the oldest first."""
    day: tuple[Counted, ...] = ()
    """Those of the last day; only where the day has a limit."""
    waiting: tuple[Rival, ...] = ()
    paused_until: float = 0.0
    paced_until: float = 0.0
    """Until then requests are spread over the minute."""
    lowered_to: int = 0
    """What the provider's refusals have lowered the limit to; 0 for never."""
    lowered_at: float = 0.0
    delay: float = 0.0
    """How long answers took lately, at most. A provider counts a request between its leaving and its answer."""
    delay_until: float = 0.0
    row_granted_at: float = -SPAN_SECONDS
    urgent_until: float = 0.0
    """How long the window holds a request for what somebody waits for."""
    told_minute: Quota = NOTHING_TOLD
    told_day: Quota = NOTHING_TOLD

    @property
    def used(self) -> int:
        """How many requests the last minute holds; of a record that was refreshed."""
        return sum(one.requests for one in self.grants)


def refresh(record: AccountRecord, *, boot_id: str, now: float) -> AccountRecord:
    """Return the record without what counts no more; all of it is void when it was written before this boot."""
    if record.boot_id != boot_id or now < record.seen_at:
        return AccountRecord(boot_id=boot_id, seen_at=now)
    return replace(
        record,
        seen_at=now,
        grants=_drop_past(record.grants, now - record.delay),
        day=_drop_past(record.day, now),
        waiting=tuple(rival for rival in record.waiting if rival.until > now),
    )


def admit(record: AccountRecord, ask: Ask) -> tuple[AccountRecord, Reply]:
    """Grant what may be sent now, note the rest as waiting, and say when to come again. The record was refreshed."""
    now = record.seen_at
    most = 1 if _is_probing(record) else min(len(ask.wishes), get_step(ask.limits))
    granted, ready_at = 0, now
    while granted < most and (ready_at := _find_ready(record, ask, granted)) <= now + _TOLERANCE_SECONDS:
        granted += 1
    resumes_at = _get_day_end(record, ask.limits, granted, is_paid_for=False)
    rest = [wish for wish in ask.wishes[granted:] if wish.is_paid_for or resumes_at <= now]
    next_at = now if granted == most or not rest else ready_at
    again_at = min(next_at, now + NAP_SECONDS) if rest else inf
    is_told = _has_told_day(record)
    record = _count(record, ask.wishes[:granted], ask.limits)
    record = _register(record, ask.process_id, rest, again_at, has_got=granted > 0)
    resumes_seconds = None if resumes_at <= now else resumes_at - now
    return record, Reply(granted, again_at - now, max(0.0, next_at - now), resumes_seconds, is_told)


def count_elsewhere(record: AccountRecord, grants: Sequence[Counted]) -> AccountRecord:
    """Count requests that were sent without the record, while it could not be had."""
    return replace(record, grants=tuple(sorted([*record.grants, *grants])))


def leave(record: AccountRecord, process_id: str) -> AccountRecord:
    """Forget that a process waits."""
    return replace(record, waiting=tuple(rival for rival in record.waiting if rival.process_id != process_id))


def get_believed_limit(record: AccountRecord, limits: Limits) -> int:
    """Return what the account may send in a minute as far as is known; a lowered limit comes back step by step."""
    if not record.lowered_to:
        return limits.per_minute
    steps = int(max(0.0, record.seen_at - record.lowered_at) // RAISE_SECONDS)
    return min(limits.per_minute, record.lowered_to + steps * get_step(limits))


def get_step(limits: Limits) -> int:
    """Return by how much a lowered limit is raised; it is lowered no further than to this either."""
    return max(1, limits.per_minute // BATCH_PARTS)


def get_day_left(record: AccountRecord, limits: Limits) -> int | None:
    """Return what is left of the day, by the provider's word, else by our own count; None when neither is known."""
    if _has_told_day(record):
        return record.told_day.left
    return limits.per_day - sum(one.requests for one in record.day) if limits.per_day else None


def _has_told_day(record: AccountRecord) -> bool:
    """Tell whether the provider's word about the day is believed."""
    return record.seen_at < record.told_day.until


def _is_probing(record: AccountRecord) -> bool:
    """Tell whether a day that was used up is believed in no more, so that one request is to find out."""
    told = record.told_day
    return not told.left and told.until <= record.seen_at < told.reset_at


def _drop_past(counted: tuple[Counted, ...], now: float) -> tuple[Counted, ...]:
    return tuple(one for one in counted if one.until > now)


def _find_ready(record: AccountRecord, ask: Ask, granted: int) -> float:
    """Return when the wish behind so many granted ones may be sent; an instant that has passed for at once."""
    wish, now = ask.wishes[granted], record.seen_at
    limit = get_believed_limit(record, ask.limits)
    excess = record.used + granted - _get_allowed(record, limit, wish) + 1
    ahead = _find_ahead(record, ask.process_id, wish, has_got=granted > 0)
    behind = sum(rival.requests if rival.rank < wish.rank else 1 for rival in ahead)
    room_at = _get_freed_at(record, excess)
    ready_at = max(record.paused_until, _make_way(room_at, _get_freed_at(record, excess + behind), ahead))
    if wish.is_row:
        is_second = any(one.is_row for one in ask.wishes[:granted])
        ready_at = max(ready_at, (now if is_second else record.row_granted_at) + WINDOW_SECONDS / (ROW_HASTE * limit))
    if now < record.paced_until:
        gap = SPAN_SECONDS / limit
        next_at = (now if granted else record.granted_at) + gap
        ready_at = max(ready_at, _make_way(next_at, next_at + gap * behind, ahead))
    if now < record.told_minute.until and record.told_minute.left <= granted:
        ready_at = max(ready_at, record.told_minute.until)
    return max(ready_at, _get_day_end(record, ask.limits, granted, is_paid_for=wish.is_paid_for))


def _get_allowed(record: AccountRecord, limit: int, wish: Wish) -> int:
    """Return how many requests the window may hold when this one is granted, itself included."""
    if not wish.is_row:
        return max(1, int(limit * wish.share))
    return max(1, limit - _count_kept(record, limit))


def _count_kept(record: AccountRecord, limit: int) -> int:
    """Return how many requests rows leave so that whoever comes finds one every so often, as far as none is freed in time."""
    most = limit // (KEPT_PARTS_URGENT if record.seen_at < record.urgent_until else KEPT_PARTS)
    kept = freed = 0
    for one in record.grants:
        if kept + freed >= most:
            break
        until_seconds = one.until + record.delay - record.seen_at
        kept = max(kept, min(most, ceil(until_seconds * most / SPAN_SECONDS)) - freed)
        freed += one.requests
    return max(kept, most - freed)


def _find_ahead(record: AccountRecord, process_id: str, wish: Wish, *, has_got: bool) -> list[Rival]:
    """Return the other processes that go before a wish. Whoever has just got something lets its equals come first."""
    mine = [rival for rival in record.waiting if rival.process_id == process_id]
    since = mine[0].since if mine and not has_got else inf
    return [
        rival
        for rival in record.waiting
        if rival.process_id != process_id and (rival.rank, rival.since) < (wish.rank, since)
    ]


def _make_way(first_at: float, behind_at: float, ahead: Sequence[Rival]) -> float:
    """Return when it is our turn: behind those who go first, or sooner when one of them does not come."""
    return min(behind_at, max(first_at, min(rival.until for rival in ahead))) if ahead else first_at


def _get_freed_at(record: AccountRecord, count: int) -> float:
    """Return when so many requests will have left the window."""
    if count <= 0:
        return 0.0
    for one in record.grants:
        count -= one.requests
        if count <= 0:
            return one.until + record.delay
    return record.seen_at + SPAN_SECONDS


def _get_day_end(record: AccountRecord, limits: Limits, granted: int, *, is_paid_for: bool) -> float:
    """Return when the day goes on, if it is used up after so many more requests; 0 if it is not."""
    left = get_day_left(record, limits)
    if left is None or left - granted > (0 if is_paid_for else limits.per_day // DAY_RESERVE_PARTS):
        return 0.0
    if _has_told_day(record):
        return record.told_day.reset_at
    # Requests are counted by half-hours, and a day is no longer than a day.
    return min([record.seen_at + DAY_SECONDS, *(one.until for one in record.day[:1])])


def _count(record: AccountRecord, wishes: Sequence[Wish], limits: Limits) -> AccountRecord:
    """Count granted requests in the minute, in the day and in what the provider has told."""
    if not wishes:
        return record
    now, granted = record.seen_at, len(wishes)
    until = now + SPAN_SECONDS
    told_day = record.told_day._replace(left=max(0, record.told_day.left - granted))
    if _is_probing(record):
        told_day = told_day._replace(until=min(told_day.reset_at, now + PROBE_SECONDS))
    day_until = now // _DAY_STEP_SECONDS * _DAY_STEP_SECONDS + _DAY_STEP_SECONDS + DAY_SECONDS
    return replace(
        record,
        granted_at=now,
        row_granted_at=now if any(one.is_row for one in wishes) else record.row_granted_at,
        urgent_until=until if any(one.is_urgent for one in wishes) else record.urgent_until,
        grants=_add(record.grants, until if limits.per_minute <= MAX_EXACT_LIMIT else ceil(until * 10) / 10, granted),
        day=_add(record.day, day_until, granted) if limits.per_day else record.day,
        told_minute=record.told_minute._replace(left=max(0, record.told_minute.left - granted)),
        told_day=told_day,
    )


def _add(counted: tuple[Counted, ...], until: float, requests: int) -> tuple[Counted, ...]:
    if counted and counted[-1].until == until:
        return (*counted[:-1], Counted(until, counted[-1].requests + requests))
    return (*counted, Counted(until, requests))


def _register(
    record: AccountRecord, process_id: str, rest: Sequence[Wish], again_at: float, *, has_got: bool
) -> AccountRecord:
    """Note that a process waits for what it did not get, or that it waits no more."""
    mine = [rival for rival in record.waiting if rival.process_id == process_id]
    others = leave(record, process_id)
    if not rest:
        return others
    now, rank = record.seen_at, rest[0].rank
    since = mine[0].since if mine and not has_got else now
    requests = sum(wish.rank == rank for wish in rest)
    rival = Rival(process_id, rank, requests, since, again_at + GRACE_SECONDS)
    return replace(others, waiting=(*others.waiting, rival))
