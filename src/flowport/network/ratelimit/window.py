"""Decide how many requests an account may send now. Pure: takes a record and an instant, returns a record and a grant.

The record of an account is shared by every process of a home, or belongs to one process. Tokens are granted only to
requests that wait at that moment, so none is held unused; those of a process that dies expire with the window. Waiting
processes are recorded too, for 15 seconds at a time: urgent requests of one process go before the others of another, and
equals take turns.

Instants are seconds of one clock that cannot be set; what an earlier boot of the machine wrote is void.

While work waits for the limit alone, a request that starts nothing may be granted above it, past those that wait before
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
from flowport.network.ratelimit.record import NO_QUOTA, SPAN_SECONDS, AccountRecord, Counted, Waiter, leave

DAY_SECONDS: Final = 86_400.0

ROW_HASTE: Final = 4.0
"""How much faster than the long-term limit rows may go for a while. A longer burst would poll rows and leave no token to
start the next row with."""

KEPT_PARTS: Final = 25
"""Rows leave this part of the window to calls that may come, spread over it: the first token at once, the last when the
window is nearly over. Tokens that are freed until then need not be left."""

KEPT_PARTS_URGENT: Final = 5
"""The same once a call has come: a run that is waited for needs more than its start."""

BATCH_PARTS: Final = 8
"""At most this part of the limit is granted at once, so that several processes take turns."""

HEARTBEAT_SECONDS: Final = 15.0
"""Maximum interval between two requests for tokens; also serves as a heartbeat for waiters."""
GRACE_SECONDS: Final = 1.0
"""How long others keep the place of a waiter that misses its heartbeat; it may be busy or dead."""

DAY_RESERVE_PARTS: Final = 20
"""This part of a day is kept for polls of runs that are paid for already."""

DAY_PROBE_SECONDS: Final = 60.0
"""How long to wait for the response to a request that checks whether the day continues."""

BURST_SECONDS: Final = 5.0
"""No span of this length holds more requests than the documented limit of a minute, or a fifth more than its share of a
higher one: providers limit bursts by address, whatever a key may send in a minute."""
_BURST_PARTS: Final = 10

MIN_QUOTA_LEFT: Final = 2
"""Where the provider reports what is left of its minute, nothing is sent above the limit unless at least this is left."""

MAX_EXACT_LIMIT: Final = 600
"""Above it instants are kept to a tenth of a second, so that no record grows without end."""

_DAY_STEP_SECONDS: Final = 1800.0
"""How exactly the requests of a day are counted."""
_TOLERANCE_SECONDS: Final = 1e-6
"""What adding and subtracting instants may lose."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """One request that waits for a token."""

    rank: int
    """Smaller is sooner."""
    share: float = 1.0
    """The part of the window that this and all before it may fill."""
    is_row: bool = False
    """Whether it is for a row of a batch; these go one by one and leave tokens to calls that may come."""
    is_urgent: bool = False
    """Whether a caller waits for its result."""
    is_paid_for: bool = False
    """Whether it polls a run that is paid for; others are refused when the day is used up, and it waits."""
    may_probe: bool = False
    """Whether it may be sent above the limit, to find out whether that is accepted; never a start."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The tokens that a process requests."""

    process_id: str
    limits: Limits
    tokens: Sequence[TokenRequest]
    """Those that wait there, in their order; at least one."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What was granted, and when to ask again."""

    granted: int
    """How many of the requests, from the first on, may be sent now."""
    again_seconds: float
    """When to ask for the next, at the latest in `HEARTBEAT_SECONDS`; infinity without one."""
    ready_seconds: float = 0.0
    """When the next may be sent as things are; 0 without one."""
    resumes_seconds: float | None = None
    """When the day goes on that is used up for whatever is not paid for; None when it is not used up."""
    is_reported: bool = False
    """Whether the provider reported that; else it is our own count."""
    extra: int = 0
    """How many of the requests behind these, from the first that may probe on, may be sent now above the limit."""
    probed_at: float | None = None
    """The instant of the reply, in the time of the record, if the last of these is a probe."""
    used: int = 0
    """Requests that the window holds now."""
    learned: LearnedLimit = NOTHING_LEARNED
    """What is learned of the account by now."""
    limit: int = 0
    """Requests that are sent in a minute, by that."""
    can_rise: bool = False
    """Whether a higher limit is tried as long as work waits."""


def admit(record: AccountRecord, demand: Demand) -> tuple[AccountRecord, Grant]:
    """Grant what may be sent now, record the rest as waiting, and return when to ask again. The record was refreshed."""
    now, limit = record.seen_at, get_limit(record.learned, demand.limits)
    most = 1 if _is_probing_day(record) else min(len(demand.tokens), get_step(limit))
    granted, ready_at = 0, now
    while granted < most and (ready_at := _find_ready(record, demand, granted)) <= now + _TOLERANCE_SECONDS:
        granted += 1
    resumes_at = _get_day_end(record, demand.limits, granted, is_paid_for=False)
    is_reported = _knows_day(record)
    is_full = granted < most and record.used + granted >= _get_allowed(record, limit, demand.tokens[granted])
    record = _count(record, demand.tokens[:granted], demand.limits)
    waiting, extra, extra_at, probed_at = list(demand.tokens[granted:]), 0, inf, None
    if is_full and resumes_at <= now:
        record = replace(record, learned=note_waiting(record.learned, now=now))
        able = [request for request in waiting if request.may_probe][: get_step(limit)]
        for request in able:
            extra_at = _get_extra_at(record, demand.limits, request)
            if extra_at > now + _TOLERANCE_SECONDS:
                break
            learned = note_extra(record.learned, demand.limits, used=record.used, now=now)
            probed_at = now if learned.probe_until != record.learned.probe_until else None
            record = _count(replace(record, learned=learned), [request], demand.limits)
            waiting.remove(request)
            extra += 1
    rest = [request for request in waiting if request.is_paid_for or resumes_at <= now]
    next_at = now if granted == most or not rest else ready_at
    again_at = min(next_at, max(now, extra_at), now + HEARTBEAT_SECONDS) if rest else inf
    record = _register(record, demand.process_id, rest, again_at, has_got=granted > 0)
    return record, Grant(
        granted,
        again_at - now,
        max(0.0, next_at - now),
        resumes_seconds=None if resumes_at <= now else resumes_at - now,
        is_reported=is_reported,
        extra=extra,
        probed_at=probed_at,
        used=record.used,
        learned=record.learned,
        limit=get_limit(record.learned, demand.limits),
        can_rise=can_rise(record.learned, demand.limits, now=now),
    )


def get_step(limit: int) -> int:
    """Return how many requests are granted at once at most."""
    return max(1, limit // BATCH_PARTS)


def get_day_left(record: AccountRecord, limits: Limits) -> int | None:
    """Return what is left of the day, as the provider reported, else by our own count; None when neither is known."""
    if _knows_day(record):
        return record.day_quota.left
    return limits.per_day - sum(one.requests for one in record.day) if limits.per_day else None


def _knows_day(record: AccountRecord) -> bool:
    """Return whether the day's quota that the provider reported still holds."""
    return record.seen_at < record.day_quota.until


def _is_probing_day(record: AccountRecord) -> bool:
    """Return whether a day that was used up may be over, so that one request has to find out."""
    quota = record.day_quota
    return not quota.left and quota.until <= record.seen_at < quota.reset_at


def _find_ready(record: AccountRecord, demand: Demand, granted: int) -> float:
    """Return when the request after this many granted ones may be sent; an instant that has passed for at once."""
    request, now = demand.tokens[granted], record.seen_at
    limit = get_limit(record.learned, demand.limits)
    excess = record.used + granted - _get_allowed(record, limit, request) + 1
    ahead = _find_ahead(record, demand.process_id, request, has_got=granted > 0)
    behind = sum(waiter.requests if waiter.rank < request.rank else 1 for waiter in ahead)
    room_at = _get_freed_at(record, excess)
    ready_at = max(record.paused_until, _wait_behind(room_at, _get_freed_at(record, excess + behind), ahead))
    ready_at = max(ready_at, _get_burst_end(record, demand.limits, granted))
    if request.is_row:
        is_second = any(one.is_row for one in demand.tokens[:granted])
        ready_at = max(ready_at, (now if is_second else record.row_granted_at) + WINDOW_SECONDS / (ROW_HASTE * limit))
    if now < record.paced_until:
        gap = SPAN_SECONDS / limit
        next_at = (now if granted else record.granted_at) + gap
        ready_at = max(ready_at, _wait_behind(next_at, next_at + gap * behind, ahead))
    if now < record.minute_quota.until and record.minute_quota.left <= granted:
        ready_at = max(ready_at, record.minute_quota.until)
    return max(ready_at, _get_day_end(record, demand.limits, granted, is_paid_for=request.is_paid_for))


def _get_extra_at(record: AccountRecord, limits: Limits, request: TokenRequest) -> float:
    """Return when a request that may probe may be sent above the limit."""
    limit, quota = get_limit(record.learned, limits), record.minute_quota
    # A request that leaves a share to others fills all of the window first.
    if record.used < (_get_allowed(record, limit, request) if request.is_row else limit):
        return inf
    extra_at = get_extra_at(record.learned, limits, used=record.used, now=record.seen_at)
    extra_at = max(extra_at, record.paused_until, record.paced_until, _get_burst_end(record, limits, 0))
    if quota == NO_QUOTA or quota.until < record.seen_at - WINDOW_SECONDS:
        return extra_at
    # An outdated number does not count: the next response has another.
    has_room = record.seen_at < quota.until and quota.left >= MIN_QUOTA_LEFT
    return extra_at if has_room else max(extra_at, record.seen_at + RECHECK_SECONDS)


def _get_burst_end(record: AccountRecord, limits: Limits, granted: int) -> float:
    """Return when one more request makes no burst that a provider may refuse, whatever it allows in a minute."""
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


def _get_allowed(record: AccountRecord, limit: int, request: TokenRequest) -> int:
    """Return how many requests the window may hold when this one is granted, itself included."""
    if not request.is_row:
        return max(1, int(limit * request.share))
    return max(1, limit - _count_kept(record, limit))


def _count_kept(record: AccountRecord, limit: int) -> int:
    """Return how many tokens rows leave so that a call that comes finds one in time, as far as none is freed until then."""
    most = limit // (KEPT_PARTS_URGENT if record.seen_at < record.urgent_until else KEPT_PARTS)
    kept = freed = 0
    for one in record.grants:
        if kept + freed >= most:
            break
        until_seconds = one.until + record.delay - record.seen_at
        kept = max(kept, min(most, ceil(until_seconds * most / SPAN_SECONDS)) - freed)
        freed += one.requests
    return max(kept, most - freed)


def _find_ahead(record: AccountRecord, process_id: str, request: TokenRequest, *, has_got: bool) -> list[Waiter]:
    """Return the other processes that go before a request. After a grant a process lets its equals go first."""
    mine = [waiter for waiter in record.waiting if waiter.process_id == process_id]
    since = mine[0].since if mine and not has_got else inf
    return [
        waiter
        for waiter in record.waiting
        if waiter.process_id != process_id and (waiter.rank, waiter.since) < (request.rank, since)
    ]


def _wait_behind(first_at: float, behind_at: float, ahead: Sequence[Waiter]) -> float:
    """Return when it is our turn: behind those that go first, or sooner when one of them misses its heartbeat."""
    return min(behind_at, max(first_at, min(waiter.until for waiter in ahead))) if ahead else first_at


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
    if _knows_day(record):
        return record.day_quota.reset_at
    # Requests are counted by half-hours, and a day is no longer than a day.
    return min([record.seen_at + DAY_SECONDS, *(one.until for one in record.day[:1])])


def _count(record: AccountRecord, tokens: Sequence[TokenRequest], limits: Limits) -> AccountRecord:
    """Count granted requests in the minute, in the day and in the quotas that the provider reported."""
    if not tokens:
        return record
    now, granted = record.seen_at, len(tokens)
    until = now + SPAN_SECONDS
    day_quota = record.day_quota._replace(left=max(0, record.day_quota.left - granted))
    if _is_probing_day(record):
        day_quota = day_quota._replace(until=min(day_quota.reset_at, now + DAY_PROBE_SECONDS))
    day_until = now // _DAY_STEP_SECONDS * _DAY_STEP_SECONDS + _DAY_STEP_SECONDS + DAY_SECONDS
    return replace(
        record,
        granted_at=now,
        row_granted_at=now if any(one.is_row for one in tokens) else record.row_granted_at,
        urgent_until=until if any(one.is_urgent for one in tokens) else record.urgent_until,
        grants=_add(record.grants, until if limits.most <= MAX_EXACT_LIMIT else ceil(until * 10) / 10, granted),
        day=_add(record.day, day_until, granted) if limits.per_day else record.day,
        minute_quota=record.minute_quota._replace(left=max(0, record.minute_quota.left - granted)),
        day_quota=day_quota,
    )


def _add(counted: tuple[Counted, ...], until: float, requests: int) -> tuple[Counted, ...]:
    if counted and counted[-1].until == until:
        return (*counted[:-1], Counted(until, counted[-1].requests + requests))
    return (*counted, Counted(until, requests))


def _register(
    record: AccountRecord, process_id: str, rest: Sequence[TokenRequest], again_at: float, *, has_got: bool
) -> AccountRecord:
    """Record that a process waits for what it did not get, or that it no longer waits."""
    mine = [waiter for waiter in record.waiting if waiter.process_id == process_id]
    others = leave(record, process_id)
    if not rest:
        return others
    now, rank = record.seen_at, rest[0].rank
    since = mine[0].since if mine and not has_got else now
    requests = sum(request.rank == rank for request in rest)
    waiter = Waiter(process_id, rank, requests, since, again_at + GRACE_SECONDS)
    return replace(others, waiting=(*others.waiting, waiter))
