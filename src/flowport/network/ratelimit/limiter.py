"""The rate limiter of one account: a sliding window of requests a minute, the urgent ones first.

Starts of runs go before polls, and both before catalogue requests. A burst is allowed as long as the minute around it
stays within the limit. This is the queue of one process; `window` has the rules, and `state` the record that all
processes of a home share.
"""

import itertools
from bisect import insort
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from math import inf
from typing import Final

import anyio

from flowport.domain.errors import DayUsedUp, Operation
from flowport.network.ratelimit.learned_limit import NOTHING_LEARNED, WINDOW_SECONDS, Limits, get_limit
from flowport.network.ratelimit.record import (
    SPAN_SECONDS,
    leave,
    note_answered_probe,
    note_delay,
    note_quota,
    note_refusal,
)
from flowport.network.ratelimit.state import LocalState
from flowport.network.ratelimit.window import Demand, Grant, TokenRequest, get_day_left, get_step
from flowport.providers.answers import RateLimits
from flowport.runtime.clock import Clock

MAX_PROBES: Final = 8
"""Probes that wait for their response; some are never sent, because their poll is no longer needed."""

PLAN_FACTOR: Final = 2
"""While the limit may rise, polls of waited-for runs are planned for this multiple of the limit."""


class Priority(IntEnum):
    """Which request goes first; smaller is sooner."""

    START = 0
    POLL = 1
    """Of a run that a caller waits for."""
    POLL_DUE_ROW = 2
    """Of a row that is due."""
    START_ROW = 3
    """Of a run that is a row of a batch."""
    POLL_ROW = 4
    """Of a row of a batch, or of a run without a caller."""
    DISCOVER = 5
    DISCOVER_LATER = 6
    """Definitions that no listed tool needs; they leave half of the window to everything else."""


_REQUESTS: Final[Mapping[Priority, TokenRequest]] = {
    priority: TokenRequest(
        priority,
        share=0.5 if priority is Priority.DISCOVER_LATER else 1.0,
        is_row=priority in {Priority.POLL_DUE_ROW, Priority.START_ROW, Priority.POLL_ROW},
        is_urgent=priority in {Priority.START, Priority.POLL},
        # A run that is polled is paid for already.
        is_paid_for=priority.name.startswith("POLL"),
        may_probe=not priority.name.startswith("START"),
    )
    for priority in Priority
}


@dataclass(frozen=True, slots=True)
class LimiterStatus:
    """The state of an account's rate limiter."""

    used: int
    """Requests in the last minute: of all programs that share the limit."""
    limit: int
    """Requests in a minute, as far as is known; 0 for no limit."""
    ceiling: int
    """What that may become at most; 0 for no limit."""
    is_learned: bool = False
    """Whether the limit was learned from responses; else it is the documented one or the setting."""
    refused_above: int = 0
    """At about so many requests in a minute the provider has refused the next; 0 for never."""
    paused_seconds: float = 0.0
    """For how long nothing is sent, because the provider requires it; 0 for no pause."""
    day_left: int | None = None
    """What is left of the day; None where that is not known."""
    is_shared: bool = False
    """Whether the other programs of the machine are counted."""

    @property
    def is_day_used_up(self) -> bool:
        """Whether even polls have to wait for the next day."""
        return self.day_left is not None and self.day_left <= 0


@dataclass(order=True, slots=True)
class _Queued:
    """A request that waits for its token."""

    priority: Priority
    number: int
    woken: anyio.Event = field(default_factory=anyio.Event, compare=False)
    """Set when something may have changed for it."""
    is_granted: bool = field(default=False, compare=False)
    probe: "_Probe | None" = field(default=None, compare=False)
    """Set if it was granted above all that was accepted before."""
    refusal: Grant | None = field(default=None, compare=False)
    """The grant that says that the day is used up."""
    rest: anyio.CancelScope = field(default_factory=anyio.CancelScope, compare=False)
    """Its sleep until it is worth asking again; another request that asked earlier may have got its token."""

    def grant(self) -> None:
        """Let its request be sent."""
        self.is_granted = True
        self.wake()

    def wake(self) -> None:
        """Wake the waiter immediately, because the granted slot expires."""
        self.woken.set()
        self.rest.cancel()


@dataclass(slots=True)
class _Probe:
    """A request of ours that was granted above all that was accepted before."""

    granted_at: float
    """By the window's time."""
    used: int
    """Requests that the window held then, this one included."""
    sent_at: float | None = None
    """What `note_sent` returned for it; None until then."""


class RateLimiter:
    """Grants requests, one at a time, in the order of their priority."""

    def __init__(
        self,
        limit: int,
        clock: Clock,
        *,
        ceiling: int = 0,
        title: str = "",
        per_day: int = 0,
        window: LocalState | None = None,
        process_id: str = "",
    ) -> None:
        """Make a rate limiter of `limit` requests a minute; 0 for no limit, and then no record is kept.

        Args:
            ceiling: Up to how many requests a minute are learned; 0 for none above the limit.
            title: The name of the provider, for errors.
            per_day: Requests in 24 hours; 0 for no limit.
            window: The record that is shared with other processes; None for one of our own.
        """
        self._title = title
        self._limits = Limits(limit, per_day, ceiling)
        self._clock = clock
        self._process_id = process_id
        self._state = LocalState(clock) if window is None else window
        self._sent: deque[float] = deque()
        self._paused_until = -inf
        """Where there is no limit."""
        self._under_way = 0
        self._delay = self._delay_sent_at = -inf
        """The longest response of the last minute that was recorded, and when."""
        self.answers: Counter[tuple[Operation, str]] = Counter()
        """How many requests had which answer, by the class of its status, for metrics."""
        self._waiting: list[_Queued] = []
        self._numbers = itertools.count()
        self._is_asking = False
        self._is_outdated = False
        """Whether the window would grant something else by now."""
        self._limit = get_limit(NOTHING_LEARNED, self._limits) if limit else 0
        self._can_rise = False
        """Both as of the last grant."""
        self._probes: deque[_Probe] = deque(maxlen=MAX_PROBES)
        """Those of ours without a response yet, sent or not."""
        self._next_at = -inf
        """When the first waiter is served, as of the last grant."""

    @property
    def limit(self) -> int:
        """Requests in a minute, as far as is known; 0 for no limit."""
        return self._limit

    @property
    def can_rise(self) -> bool:
        """Whether a higher limit is tried while polls wait. Meanwhile polls alone must keep the window full."""
        return self._can_rise

    @property
    def limit_to_plan(self) -> int:
        """The limit for planning polls: more while a higher one is tried, so that some wait."""
        return self._limit * (PLAN_FACTOR if self._can_rise else 1)

    @property
    def is_limited(self) -> bool:
        """Whether a request that is saved can be used by another, in this minute or day."""
        return bool(self._limits.per_minute or self._limits.per_day)

    def get_used(self) -> int:
        """Return how many requests this process has sent in the last minute."""
        self._forget_old()
        return len(self._sent)

    async def get_status(self) -> LimiterStatus:
        """Return the state of the limiter, over all processes that share it."""
        now = self._clock.monotonic()
        if not self._limits.per_minute:
            return LimiterStatus(self.get_used(), 0, 0, paused_seconds=max(0.0, self._paused_until - now))
        record = await self._state.read()
        limit = get_limit(record.learned, self._limits)
        return LimiterStatus(
            used=record.used,
            limit=limit,
            ceiling=self._limits.most,
            is_learned=limit == record.learned.proven,
            refused_above=record.learned.ceiling,
            paused_seconds=max(0.0, record.paused_until - record.seen_at),
            day_left=get_day_left(record, self._limits),
            is_shared=self._state.is_shared,
        )

    async def take(self, priority: Priority, operation: Operation = Operation.START_RUN) -> None:
        """Wait until a request may be sent, and count it as sent.

        Args:
            operation: What it is for, for the error.

        Raises:
            DayUsedUp: No request is allowed any more today; polls wait instead.
        """
        if self._limits.per_minute:
            queued = _Queued(priority, next(self._numbers))
            await self._queue(queued, operation)
            if queued.probe is not None:
                self._probes.append(queued.probe)
        else:
            while (pause := self._paused_until - self._clock.monotonic()) > 0:
                await self._clock.sleep(pause)
        self._forget_old()
        self._sent.append(self._clock.monotonic())

    def count_queued(self) -> int:
        """Return how many requests wait to be granted."""
        return len(self._waiting)

    def get_wait(self, place: int) -> float:
        """Return about how many seconds a request at a place of the queue still waits, from 1 on."""
        now = self._clock.monotonic()
        if not self._limits.per_minute:
            return max(0.0, self._paused_until - now)
        return max(0.0, self._next_at - now) + (place - 1) * SPAN_SECONDS / self._limit

    def note_busy(self, seconds: float, sent_at: float | None = None) -> None:
        """Grant nothing for so long, in no process, because the provider requires it; then go on more slowly.

        Args:
            sent_at: What `note_sent` returned for the refused request; None for just now.
        """
        now = self._clock.monotonic()
        if not self._limits.per_minute:
            self._paused_until = max(self._paused_until, now + seconds)
            return
        age_seconds = 0.0 if sent_at is None else now - sent_at
        refused = partial(note_refusal, limits=self._limits, seconds=seconds, age_seconds=age_seconds)
        self._state.apply(partial(refused, is_probe=self._take_probe(sent_at) is not None))

    def note_accepted(self, sent_at: float) -> None:
        """Record that the provider accepted a request; if it was the probe, that proves a higher limit."""
        probe = self._take_probe(sent_at)
        if probe is None:
            return
        self._state.apply(
            partial(note_answered_probe, limits=self._limits, probed_at=probe.granted_at, used=probe.used)
        )
        self._wake_asker()

    def note_sent(self) -> float:
        """Record that a granted request is sent, and return the instant for `note_over`."""
        self._under_way += 1
        now = self._clock.monotonic()
        unsent = next((probe for probe in self._probes if probe.sent_at is None), None)
        if unsent is not None:
            unsent.sent_at = now
        return now

    def note_over(self, sent_at: float) -> None:
        """Record that a request has its response, or will have none: the provider has counted it by now, if ever."""
        self._under_way -= 1
        now = self._clock.monotonic()
        is_old = now - self._delay_sent_at > WINDOW_SECONDS
        # One response in a minute is recorded, and each that took a tenth longer.
        if self._limits.per_minute and (is_old or now - sent_at > self._delay * 1.1):
            self._delay, self._delay_sent_at = now - sent_at, now
            self._state.apply(partial(note_delay, seconds=now - sent_at))

    def note_limits(self, quota: RateLimits) -> None:
        """Use what the provider reports as left. It does not include requests that are in progress."""
        seconds = quota.get_reset_seconds(self._clock.now())
        if self._limits.per_minute and seconds is not None:
            left = max(0, quota.remaining - self._under_way)
            self._state.apply(partial(note_quota, left=left, reset_seconds=seconds))

    def _take_probe(self, sent_at: float | None) -> _Probe | None:
        """Return the probe that was sent at an instant, and remove it."""
        probe = next((one for one in self._probes if one.sent_at == sent_at), None) if sent_at is not None else None
        if probe is not None:
            self._probes.remove(probe)
        return probe

    async def _queue(self, queued: _Queued, operation: Operation) -> None:
        """Wait for our turn. The first of the queue asks the window for all of it."""
        insort(self._waiting, queued)
        if _REQUESTS[queued.priority].may_probe and self._can_rise:
            # It may be sent above the limit, past those that wait for room.
            self._wake_asker()
        try:
            while not queued.is_granted:
                if queued.refusal is not None:
                    seconds = queued.refusal.resumes_seconds or 0.0
                    raise DayUsedUp(self._title, operation, seconds, is_reported=queued.refusal.is_reported)
                if queued is self._waiting[0] and not self._is_asking:
                    await self._advance(queued)
                else:
                    queued.woken = anyio.Event()
                    await queued.woken.wait()
        finally:
            if queued in self._waiting:
                self._waiting.remove(queued)
                if not self._waiting and self._limits.per_minute:
                    self._state.apply(partial(leave, process_id=self._process_id))
            self._wake_first()

    async def _advance(self, queued: _Queued) -> None:
        """Ask for all waiters and grant what came; wait until it is worth asking again."""
        asking = self._waiting[: get_step(self._limit) + 1]
        # Behind a line of starts, which are never sent above the limit, there may be others.
        probe = next((one for one in self._waiting if _REQUESTS[one.priority].may_probe), None)
        if probe is not None and probe not in asking:
            asking.append(probe)
        demand = Demand(self._process_id, self._limits, [_REQUESTS[one.priority] for one in asking])
        self._is_asking, self._is_outdated = True, False
        try:
            # What is granted must not be lost with the waiter that happens to ask.
            with anyio.CancelScope(shield=True):
                grant = await self._state.exchange(demand)
        finally:
            self._is_asking = False
        self._next_at = self._clock.monotonic() + grant.ready_seconds
        self._limit, self._can_rise = grant.limit, grant.can_rise
        self._hand_out(grant)
        # Infinite when all were granted: then one that came meanwhile took our place, and we ask again at once.
        is_first = bool(self._waiting) and queued is self._waiting[0]
        if is_first and queued.refusal is None and grant.again_seconds < inf and not self._is_outdated:
            with anyio.CancelScope() as queued.rest:
                await self._clock.sleep(grant.again_seconds)

    def _hand_out(self, grant: Grant) -> None:
        for queued in self._waiting[: grant.granted]:
            queued.grant()
        del self._waiting[: grant.granted]
        # The waiter that asked may have gone meanwhile; a start never takes its place.
        extra = [one for one in self._waiting if _REQUESTS[one.priority].may_probe][: grant.extra]
        for queued in extra:
            queued.grant()
            self._waiting.remove(queued)
        if extra and grant.probed_at is not None:
            extra[-1].probe = _Probe(grant.probed_at, grant.used)
        if grant.resumes_seconds is not None:
            for queued in self._waiting:
                if not _REQUESTS[queued.priority].is_paid_for:
                    queued.refusal = grant
                    queued.wake()
        self._wake_first()

    def _wake_first(self) -> None:
        if self._waiting:
            self._waiting[0].woken.set()

    def _wake_asker(self) -> None:
        """Ask the window again at once, even if a waiter is asking it or sleeps by now."""
        self._is_outdated = True
        if self._waiting:
            self._waiting[0].rest.cancel()
        self._wake_first()

    def _forget_old(self) -> None:
        oldest = self._clock.monotonic() - SPAN_SECONDS
        while self._sent and self._sent[0] <= oldest:
            self._sent.popleft()
