"""The request budget of one account: at most so many requests in any sixty seconds, the urgent ones first.

Starts of runs go before looks at runs, and both before discovery. The window slides, as the provider's own does, so a
burst is allowed as long as the minute around it stays within the limit. This is the queue of one process; `allowance`
has the rules, and `windows` the record that all processes of a home share.
"""

import itertools
from bisect import insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from math import inf
from typing import Final

import anyio

from flowport.domain.errors import DayUsedUp, Operation
from flowport.network.ratelimit.feedback import note_answered_probe, note_delay, note_quota, note_refusal
from flowport.network.ratelimit.learned_limit import NOTHING_LEARNED, WINDOW_SECONDS, Limits, get_limit
from flowport.network.ratelimit.state import OwnWindow, Window
from flowport.network.ratelimit.window import Ask, Reply, Wish, get_day_left, get_step
from flowport.network.ratelimit.window_record import SPAN_SECONDS
from flowport.providers.rate_limit_headers import RateLimits
from flowport.runtime.clock import Clock

MAX_PROBES: Final = 8
"""Probes whose answers are awaited; some are never sent, because their look is not needed any more."""

PLAN_FACTOR: Final = 2
"""While the limit may rise, looks that somebody waits for are planned for so many times as many requests."""


class Priority(IntEnum):
    """Who goes first; smaller is sooner."""

    START = 0
    LOOK = 1
    """At a run that somebody waits for."""
    LOOK_OVER = 2
    """At a row that is all but certain to be over."""
    START_ROW = 3
    """Of a run that is a row of a batch."""
    LOOK_ROW = 4
    """At a row of a batch, or at a run that nobody waits for any more."""
    DISCOVER = 5
    DISCOVER_LATER = 6
    """Definitions that no listed tool needs; they leave half of the window to everything else."""


_WISHES: Final[Mapping[Priority, Wish]] = {
    priority: Wish(
        priority,
        share=0.5 if priority is Priority.DISCOVER_LATER else 1.0,
        is_row=priority in {Priority.LOOK_OVER, Priority.START_ROW, Priority.LOOK_ROW},
        is_urgent=priority in {Priority.START, Priority.LOOK},
        # Whatever looks does so at a run that costs already.
        is_paid_for=priority.name.startswith("LOOK"),
        may_probe=not priority.name.startswith("START"),
    )
    for priority in Priority
}


@dataclass(frozen=True, slots=True)
class RunView:
    """How an account's budget stands."""

    used: int
    """Requests in the last minute: of all programs that share the budget."""
    limit: int
    """Requests in a minute, as far as is known; 0 for no limit."""
    ceiling: int
    """What that may become at most; 0 for no limit."""
    is_learned: bool
    """Whether the provider's answers have taught the limit; else it is the documented one or the setting."""
    refused_above: int
    """At about so many requests in a minute the provider has refused the next; 0 for never."""
    paused_seconds: float
    """For how long nothing is sent, because the provider asked for it; 0 for not at all."""
    day_left: int | None
    """What is left of the day; None where that is not known."""
    is_shared: bool
    """Whether the other programs of the machine are counted."""

    @property
    def is_day_used_up(self) -> bool:
        """Whether even a look has to wait for the day to go on."""
        return self.day_left is not None and self.day_left <= 0


@dataclass(order=True, slots=True)
class _Ticket:
    """One who waits."""

    priority: Priority
    number: int
    woken: anyio.Event = field(default_factory=anyio.Event, compare=False)
    """Set when something may have changed for this one."""
    is_granted: bool = field(default=False, compare=False)
    probe: "_Probe | None" = field(default=None, compare=False)
    """What it is if it was granted above all that was accepted before."""
    refusal: Reply | None = field(default=None, compare=False)
    """What told that the day is used up."""
    rest: anyio.CancelScope = field(default_factory=anyio.CancelScope, compare=False)
    """Its sleep until it is worth asking again; whoever has come and asked before may have got something for this one too."""

    def grant(self) -> None:
        """Let its request be sent."""
        self.is_granted = True
        self.wake()

    def wake(self) -> None:
        """Have it look up at once: what is granted is counted from now on, and a request that is sent late is one too many."""
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


class RequestBudget:
    """Grants requests, one at a time, in the order of their priority."""

    def __init__(
        self,
        limit: int,
        clock: Clock,
        *,
        ceiling: int = 0,
        title: str = "",
        per_day: int = 0,
        window: Window | None = None,
        process_id: str = "",
    ) -> None:
        """Make a budget of `limit` requests a minute; 0 for no limit, and then no window is asked.

        Args:
            ceiling: Up to how many requests a minute are learned; 0 for none above the limit.
            title: Whose requests they are, as people write it, for errors.
            per_day: Requests in 24 hours; 0 for no limit.
            window: The record that is shared with other processes; None for one of our own.
        """
        self._title = title
        self._limits = Limits(limit, per_day, ceiling)
        self._clock = clock
        self._process_id = process_id
        self._window = OwnWindow(clock) if window is None else window
        self._sent: deque[float] = deque()
        self._paused_until = -inf
        """For a budget without a limit."""
        self._under_way = 0
        self._delay = self._delay_told_at = -inf
        """The longest answer of the last minute that the window knows of, and when it was told."""
        self._waiting: list[_Ticket] = []
        self._numbers = itertools.count()
        self._is_asking = False
        self._is_outdated = False
        """Whether the window would answer something else by now."""
        self._limit = get_limit(NOTHING_LEARNED, self._limits) if limit else 0
        self._can_rise = False
        """Both by the window's last word."""
        self._probes: deque[_Probe] = deque(maxlen=MAX_PROBES)
        """Those of ours that were not answered yet, as far as they were sent at all."""
        self._next_at = -inf
        """When the first of those who wait is served, by the window's last word."""

    @property
    def limit(self) -> int:
        """Requests in a minute, as far as is known; 0 for no limit."""
        return self._limit

    @property
    def can_rise(self) -> bool:
        """Whether a higher limit is tried as long as looks wait. While it is, looks alone must hold the window full."""
        return self._can_rise

    @property
    def limit_to_plan(self) -> int:
        """The limit for whatever plans looks that somebody waits for: more while a higher one is tried, so that some wait."""
        return self._limit * (PLAN_FACTOR if self._can_rise else 1)

    @property
    def is_limited(self) -> bool:
        """Whether a request that is saved is one that another may have, be it today."""
        return bool(self._limits.per_minute or self._limits.per_day)

    def get_used(self) -> int:
        """Return how many requests this process has sent in the last minute."""
        self._forget_old()
        return len(self._sent)

    async def look(self) -> RunView:
        """Return how the budget stands, over all processes that share it."""
        now = self._clock.monotonic()
        if not self._limits.per_minute:
            paused_seconds = max(0.0, self._paused_until - now)
            return RunView(
                self.get_used(),
                0,
                0,
                is_learned=False,
                refused_above=0,
                paused_seconds=paused_seconds,
                day_left=None,
                is_shared=False,
            )
        record = await self._window.look()
        limit = get_limit(record.learned, self._limits)
        return RunView(
            used=record.used,
            limit=limit,
            ceiling=self._limits.most,
            is_learned=limit == record.learned.proven,
            refused_above=record.learned.ceiling,
            paused_seconds=max(0.0, record.paused_until - record.seen_at),
            day_left=get_day_left(record, self._limits),
            is_shared=self._window.is_shared,
        )

    async def take(self, priority: Priority, operation: Operation = Operation.START_RUN) -> None:
        """Wait until a request may be sent, and count it as sent.

        Args:
            operation: What it is for, for the error.

        Raises:
            DayUsedUp: No request is allowed any more today; looks at runs wait instead.
        """
        if self._limits.per_minute:
            ticket = _Ticket(priority, next(self._numbers))
            await self._queue(ticket, operation)
            if ticket.probe is not None:
                self._probes.append(ticket.probe)
        else:
            while (pause := self._paused_until - self._clock.monotonic()) > 0:
                await self._clock.sleep(pause)
        self._forget_old()
        self._sent.append(self._clock.monotonic())

    def get_wait(self, place: int) -> float:
        """Return about how many seconds whoever stands at a place of the queue still waits, from 1 on."""
        now = self._clock.monotonic()
        if not self._limits.per_minute:
            return max(0.0, self._paused_until - now)
        return max(0.0, self._next_at - now) + (place - 1) * SPAN_SECONDS / self._limit

    def note_busy(self, seconds: float, sent_at: float | None = None) -> None:
        """Grant nothing for so long, in no process, because the provider asked for it; then go on more slowly.

        Args:
            sent_at: What `note_sent` returned for the refused request; None for just now.
        """
        now = self._clock.monotonic()
        if not self._limits.per_minute:
            self._paused_until = max(self._paused_until, now + seconds)
            return
        age_seconds = 0.0 if sent_at is None else now - sent_at
        refused = partial(note_refusal, limits=self._limits, seconds=seconds, age_seconds=age_seconds)
        self._window.learn(partial(refused, is_probe=self._take_probe(sent_at) is not None))

    def note_accepted(self, sent_at: float) -> None:
        """Note that the provider did what a request asked for; if it was the probe, that proves a higher limit."""
        probe = self._take_probe(sent_at)
        if probe is None:
            return
        self._window.learn(
            partial(note_answered_probe, limits=self._limits, probed_at=probe.granted_at, used=probe.used)
        )
        self._rouse_asker()

    def note_sent(self) -> float:
        """Note that a granted request leaves, and return the instant for `note_over`."""
        self._under_way += 1
        now = self._clock.monotonic()
        unsent = next((probe for probe in self._probes if probe.sent_at is None), None)
        if unsent is not None:
            unsent.sent_at = now
        return now

    def note_over(self, sent_at: float) -> None:
        """Note that a request was answered, or will not be: the provider has counted it by now, if ever."""
        self._under_way -= 1
        now = self._clock.monotonic()
        is_old = now - self._delay_told_at > WINDOW_SECONDS
        # One answer in a minute is told, and each that took a tenth longer.
        if self._limits.per_minute and (is_old or now - sent_at > self._delay * 1.1):
            self._delay, self._delay_told_at = now - sent_at, now
            self._window.learn(partial(note_delay, seconds=now - sent_at))

    def note_limits(self, told: RateLimits) -> None:
        """Go by what the provider says is left. It does not know yet of requests that are under way."""
        seconds = told.get_reset_seconds(self._clock.now())
        if self._limits.per_minute and seconds is not None:
            left = max(0, told.remaining - self._under_way)
            self._window.learn(partial(note_quota, left=left, reset_seconds=seconds))

    def _take_probe(self, sent_at: float | None) -> _Probe | None:
        """Return the probe that was sent at an instant; it is over."""
        probe = next((one for one in self._probes if one.sent_at == sent_at), None) if sent_at is not None else None
        if probe is not None:
            self._probes.remove(probe)
        return probe

    async def _queue(self, ticket: _Ticket, operation: Operation) -> None:
        """Wait for our turn. The first of the queue asks the window for all of it."""
        insort(self._waiting, ticket)
        if _WISHES[ticket.priority].may_probe and self._can_rise:
            # It may be sent above the limit, past those who wait for room.
            self._rouse_asker()
        try:
            while not ticket.is_granted:
                if ticket.refusal is not None:
                    seconds = ticket.refusal.resumes_seconds or 0.0
                    raise DayUsedUp(self._title, operation, seconds, is_told=ticket.refusal.is_told)
                if ticket is self._waiting[0] and not self._is_asking:
                    await self._advance(ticket)
                else:
                    ticket.woken = anyio.Event()
                    await ticket.woken.wait()
        finally:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                if not self._waiting and self._limits.per_minute:
                    self._window.leave(self._process_id)
            self._wake_first()

    async def _advance(self, ticket: _Ticket) -> None:
        """Ask for those who wait and hand out what came; wait until it is worth asking again."""
        asking = self._waiting[: get_step(self._limit) + 1]
        # Behind a line of starts, which are never sent above the limit, there may be others.
        probe = next((one for one in self._waiting if _WISHES[one.priority].may_probe), None)
        if probe is not None and probe not in asking:
            asking.append(probe)
        ask = Ask(self._process_id, self._limits, [_WISHES[one.priority] for one in asking])
        self._is_asking, self._is_outdated = True, False
        try:
            # What is granted must not be lost with the one who happens to ask.
            with anyio.CancelScope(shield=True):
                reply = await self._window.exchange(ask)
        finally:
            self._is_asking = False
        self._next_at = self._clock.monotonic() + reply.ready_seconds
        self._limit, self._can_rise = reply.limit, reply.can_rise
        self._hand_out(reply)
        # Infinite when all were granted: then one who came meanwhile took our place, and we ask again at once.
        is_first = bool(self._waiting) and ticket is self._waiting[0]
        if is_first and ticket.refusal is None and reply.again_seconds < inf and not self._is_outdated:
            with anyio.CancelScope() as ticket.rest:
                await self._clock.sleep(reply.again_seconds)

    def _hand_out(self, reply: Reply) -> None:
        for ticket in self._waiting[: reply.granted]:
            ticket.grant()
        del self._waiting[: reply.granted]
        # Whoever asked may have gone meanwhile; a start never takes its place.
        extra = [one for one in self._waiting if _WISHES[one.priority].may_probe][: reply.extra]
        for ticket in extra:
            ticket.grant()
            self._waiting.remove(ticket)
        if extra and reply.probed_at is not None:
            extra[-1].probe = _Probe(reply.probed_at, reply.used)
        if reply.resumes_seconds is not None:
            for ticket in self._waiting:
                if not _WISHES[ticket.priority].is_paid_for:
                    ticket.refusal = reply
                    ticket.wake()
        self._wake_first()

    def _wake_first(self) -> None:
        if self._waiting:
            self._waiting[0].woken.set()

    def _rouse_asker(self) -> None:
        """Have the window asked at once, though whoever asks it may be asking it or sleep by now."""
        self._is_outdated = True
        if self._waiting:
            self._waiting[0].rest.cancel()
        self._wake_first()

    def _forget_old(self) -> None:
        oldest = self._clock.monotonic() - SPAN_SECONDS
        while self._sent and self._sent[0] <= oldest:
            self._sent.popleft()
