"""How many requests an account may send at a moment. Pure: a record and an instant go in, a record and a reply come out.

The record is what every process of a home shares of an account, or what one process has by itself. Requests are taken
for those who wait at that moment, so nobody ever holds one that is unused; a process that dies leaves those that it
took to run out with the window. Who waits is on record too, for a quarter of a minute at a time: so the urgent of one
process go before the others of another, and equals take turns.

Instants are seconds of one clock that nobody sets; what an earlier boot of the machine wrote is void.

While work waits for the limit alone, a request that starts nothing may be granted above it, past whatever waits before
it: `learned_limit` decides when.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Final

from flowport.network.ratelimit.learned_limit import (
    NOTHING_LEARNED,
    RECHECK_SECONDS,
    WINDOW_SECONDS,
    LearnedLimit,
    Limits,
    can_rise,
    get_extra_at,
    get_limit,
    note_extra,
    note_waiting,
)
from flowport.network.ratelimit.window_record import NOTHING_TOLD, SPAN_SECONDS, AccountRecord, Counted, Rival, leave

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

DAY_PROBE_SECONDS: Final = 60.0
"""How long a request that is to find out whether the day goes on has for its answer."""

BURST_SECONDS: Final = 5.0
"""No span of this length holds more requests than the documented limit of a minute, or a fifth more than its share of a
higher one: providers limit bursts by address, whatever a key may send in a minute."""
_BURST_PARTS: Final = 10

MIN_TOLD_LEFT: Final = 2
"""Where the provider tells what is left of its minute, nothing is sent above the limit unless at least so much is."""

MAX_EXACT_LIMIT: Final = 600
"""Above it instants are kept to a tenth of a second, so that no record grows without end."""

_DAY_STEP_SECONDS: Final = 1800.0
"""How exactly the requests of a day are counted."""
_TOLERANCE_SECONDS: Final = 1e-6
"""What adding and subtracting instants may lose."""


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
    may_probe: bool = False
    """Whether it may be sent above the limit, to find out whether that is accepted; never a start."""


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
    extra: int = 0
    """How many of the wishes behind these, from the first that may probe on, may be sent now above the limit."""
    probed_at: float | None = None
    """The instant of the reply, in the time of the record, if the last of these is a probe."""
    used: int = 0
    """Requests that the window holds now."""
    learned: LearnedLimit = NOTHING_LEARNED
    """What the account has taught by now."""
    limit: int = 0
    """Requests that are sent in a minute, by that."""
    can_rise: bool = False
    """Whether a higher limit is tried as long as work waits."""


def admit(record: AccountRecord, ask: Ask) -> tuple[AccountRecord, Reply]:
    """Grant what may be sent now, note the rest as waiting, and say when to come again. The record was refreshed."""
    now, limit = record.seen_at, get_limit(record.learned, ask.limits)
    most = 1 if _is_probing_day(record) else min(len(ask.wishes), get_step(limit))
    granted, ready_at = 0, now
    while granted < most and (ready_at := _find_ready(record, ask, granted)) <= now + _TOLERANCE_SECONDS:
        granted += 1
    resumes_at = _get_day_end(record, ask.limits, granted, is_paid_for=False)
    is_told = _has_told_day(record)
    is_full = granted < most and record.used + granted >= _get_allowed(record, limit, ask.wishes[granted])
    record = _count(record, ask.wishes[:granted], ask.limits)
    waiting, extra, extra_at, probed_at = list(ask.wishes[granted:]), 0, inf, None
    if is_full and resumes_at <= now:
        record = replace(record, learned=note_waiting(record.learned, now=now))
        able = [wish for wish in waiting if wish.may_probe][: get_step(limit)]
        for wish in able:
            extra_at = _get_extra_at(record, ask.limits, wish)
            if extra_at > now + _TOLERANCE_SECONDS:
                break
            learned = note_extra(record.learned, ask.limits, used=record.used, now=now)
            probed_at = now if learned.probe_until != record.learned.probe_until else None
            record = _count(replace(record, learned=learned), [wish], ask.limits)
            waiting.remove(wish)
            extra += 1
    rest = [wish for wish in waiting if wish.is_paid_for or resumes_at <= now]
    next_at = now if granted == most or not rest else ready_at
    again_at = min(next_at, max(now, extra_at), now + NAP_SECONDS) if rest else inf
    record = _register(record, ask.process_id, rest, again_at, has_got=granted > 0)
    return record, Reply(
        granted,
        again_at - now,
        max(0.0, next_at - now),
        resumes_seconds=None if resumes_at <= now else resumes_at - now,
        is_told=is_told,
        extra=extra,
        probed_at=probed_at,
        used=record.used,
        learned=record.learned,
        limit=get_limit(record.learned, ask.limits),
        can_rise=can_rise(record.learned, ask.limits, now=now),
    )


def get_step(limit: int) -> int:
    """Return how many requests are granted at once at most."""
    return max(1, limit // BATCH_PARTS)


def get_day_left(record: AccountRecord, limits: Limits) -> int | None:
    """Return what is left of the day, by the provider's word, else by our own count; None when neither is known."""
    if _has_told_day(record):
        return record.told_day.left
    return limits.per_day - sum(one.requests for one in record.day) if limits.per_day else None


def _has_told_day(record: AccountRecord) -> bool:
    """Tell whether the provider's word about the day is believed."""
    return record.seen_at < record.told_day.until


def _is_probing_day(record: AccountRecord) -> bool:
    """Tell whether a day that was used up is believed in no more, so that one request is to find out."""
    told = record.told_day
    return not told.left and told.until <= record.seen_at < told.reset_at


def _find_ready(record: AccountRecord, ask: Ask, granted: int) -> float:
    """Return when the wish behind so many granted ones may be sent; an instant that has passed for at once."""
    wish, now = ask.wishes[granted], record.seen_at
    limit = get_limit(record.learned, ask.limits)
    excess = record.used + granted - _get_allowed(record, limit, wish) + 1
    ahead = _find_ahead(record, ask.process_id, wish, has_got=granted > 0)
    behind = sum(rival.requests if rival.rank < wish.rank else 1 for rival in ahead)
    room_at = _get_freed_at(record, excess)
    ready_at = max(record.paused_until, _make_way(room_at, _get_freed_at(record, excess + behind), ahead))
    ready_at = max(ready_at, _get_burst_end(record, ask.limits, granted))
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


def _get_extra_at(record: AccountRecord, limits: Limits, wish: Wish) -> float:
    """Return when a wish that may probe may be sent above the limit."""
    limit, told = get_limit(record.learned, limits), record.told_minute
    if not _fills_window(record, limit, wish):
        return inf
    extra_at = get_extra_at(record.learned, limits, used=record.used, now=record.seen_at)
    extra_at = max(extra_at, record.paused_until, record.paced_until, _get_burst_end(record, limits, 0))
    if told == NOTHING_TOLD or told.until < record.seen_at - WINDOW_SECONDS:
        return extra_at
    # A number that is out of date is none: the next answer tells another.
    is_room_told = record.seen_at < told.until and told.left >= MIN_TOLD_LEFT
    return extra_at if is_room_told else max(extra_at, record.seen_at + RECHECK_SECONDS)


def _fills_window(record: AccountRecord, limit: int, wish: Wish) -> bool:
    """Tell whether the window holds all that a wish may fill; one that leaves a share to others fills all of it first."""
    return record.used >= (_get_allowed(record, limit, wish) if wish.is_row else limit)


def _get_burst_end(record: AccountRecord, limits: Limits, granted: int) -> float:
    """Return when one more request is no burst that a provider may refuse, whatever it allows in a minute."""
    limit = get_limit(record.learned, limits)
    most = max(limits.per_minute, ceil(limit / _BURST_PARTS))
    if limit <= most:
        return 0.0
    since = record.seen_at + SPAN_SECONDS - BURST_SECONDS
    recent = [one for one in record.grants if one.until > since]
    excess = sum(one.requests for one in recent) + granted - most + 1
    for one in recent if excess > 0 else ():
        excess -= one.requests
        if excess <= 0:
            return one.until - SPAN_SECONDS + BURST_SECONDS
    return record.seen_at + BURST_SECONDS if excess > 0 else 0.0


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
    if _is_probing_day(record):
        told_day = told_day._replace(until=min(told_day.reset_at, now + DAY_PROBE_SECONDS))
    day_until = now // _DAY_STEP_SECONDS * _DAY_STEP_SECONDS + _DAY_STEP_SECONDS + DAY_SECONDS
    return replace(
        record,
        granted_at=now,
        row_granted_at=now if any(one.is_row for one in wishes) else record.row_granted_at,
        urgent_until=until if any(one.is_urgent for one in wishes) else record.urgent_until,
        grants=_add(record.grants, until if limits.most <= MAX_EXACT_LIMIT else ceil(until * 10) / 10, granted),
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
