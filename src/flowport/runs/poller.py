"""Decide when which run is polled, alone or by bulk status."""

import heapq
import itertools
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Final

import anyio

from flowport.domain.errors import ProviderBroken, ProviderError, ProviderRefused, ProviderRejected
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import RunStatus
from flowport.runs.durations import Forecast
from flowport.runs.live import LiveRun
from flowport.runs.poll_schedule import (
    FAILED_POLL,
    PollReason,
    PollState,
    choose_companions,
    choose_likeliest,
    choose_run,
    get_next_pause,
    get_prices,
    get_prices_of_many,
)
from flowport.runtime.clock import Clock, Pace
from flowport.runtime.supervisor import Supervisor

logger = logging.getLogger(__name__)

REFUSED_SECONDS: Final = 86_400.0
"""For so long runs are read one by one where the provider does not do it at all, or not as we understand it."""

FAILED_SECONDS: Final = 300.0
"""For so long where it may have been the network, or an hour of its own."""


class ManyReader:
    """Looks at several runs at once, as long as that goes well. What it does not tell is to be read by itself."""

    def __init__(self, account: OpenAccount, clock: Clock) -> None:
        self._account = account
        self._clock = clock
        self._closed_until = -inf

    def get_most(self) -> int:
        """Return how many runs one request may look at now; 1 where each is to be read by itself."""
        ability = self._account.provider.capabilities.bulk_status
        is_closed = not self._account.budget.is_limited or self._clock.monotonic() < self._closed_until
        return 1 if ability is None or is_closed else ability.most

    async def fetch(self, provider_run_ids: Sequence[str]) -> Mapping[str, RunStatus]:
        """Return how the runs are doing, as far as it is told; the request was taken from the budget.

        Nothing is told when it goes wrong, and then nobody tries again for a while.
        """
        ability = self._account.provider.capabilities.bulk_status
        if ability is None:
            return {}
        try:
            answer = await self._account.send_now(ability.build_request(provider_run_ids))
            return ability.parse(answer, provider_run_ids, now=self._clock.now())
        except ProviderError as exc:
            seconds = REFUSED_SECONDS if _is_refusal(exc) else FAILED_SECONDS
            self._closed_until = self._clock.monotonic() + seconds
            logger.info("runs are read one by one for %d minutes: %s", seconds / 60, exc)
            return {}


def _is_refusal(error: ProviderError) -> bool:
    """Tell whether asking again would bring the same; what breaks off or fails over there may go well the next time."""
    is_unread = isinstance(error, ProviderBroken) and error.status < 500  # noqa: PLR2004
    return is_unread or isinstance(error, ProviderRefused | ProviderRejected)


MAX_LOOKS: Final = 32
"""Looks under way at once, for each demand: a provider that answers slowly is not asked ever more."""

TICK_SECONDS: Final = 0.5
"""Between two decisions while there are runs that are due by their pace and no look is worth it yet."""

_PRIORITIES: Final = {
    PollReason.WAITED: Priority.LOOK,
    PollReason.OVER: Priority.LOOK_OVER,
    PollReason.LEFT: Priority.LOOK_ROW,
}


@dataclass(slots=True, eq=False)
class PollSlot:
    """A run that waits for its next look. Mutable: it changes with every look."""

    entry: LiveRun
    live: PollState
    get_forecast: Callable[[], Forecast]
    turn: anyio.Event = field(default_factory=anyio.Event)
    """Set when it is the run's turn, or when there is nothing to wait for any more."""
    problem: Exception | None = None
    """Why there is a turn and no request can be sent; None when it can."""
    look: RunStatus | None = None
    """What was told of it together with others; None when it is to be read by itself."""
    is_alone: bool = False
    """Whether a request for several was to tell of it and did not: the next look is its own."""
    place: anyio.Semaphore | None = None
    """What is held while its look is under way."""
    is_taken: bool = True
    """Whether anybody still sits on it."""
    crowd: int = 1
    chance: float = 0.0
    """What spreads its next look among others; see `get_next_pause`."""

    @property
    def provider_run_id(self) -> str:
        """What its provider calls the run."""
        return self.entry.run.provider_run_id

    def leave_place(self) -> None:
        """The look is over; another one may be made."""
        if self.place is not None:
            self.place.release()
            self.place = None


class AccountWatch:
    """Hands out the turns to look at the runs of one account."""

    def __init__(
        self,
        account: OpenAccount,
        clock: Clock,
        pace: Pace,
        supervisor: Supervisor,
        *,
        is_waited: Callable[[LiveRun], bool],
        has_caller: Callable[[LiveRun], bool],
        is_wanted: Callable[[LiveRun], bool],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Make a watch; nothing is done until a run has a seat.

        Args:
            is_waited: Whether somebody waits for a run right now.
            has_caller: Whether a call waits for the run, or for the batch of which it is a row.
            is_wanted: Whether a run is still to be looked at.
            draw: Gives a number from 0 to 1, by chance, that spreads the looks where no budget does.
        """
        self._account = account
        self._clock = clock
        self._pace = pace
        self._supervisor = supervisor
        self._is_waited = is_waited
        self._has_caller = has_caller
        self._is_wanted = is_wanted
        self._draw = draw
        self._many = ManyReader(account, clock)
        self._order = itertools.count()
        self._resting: list[tuple[float, int, PollSlot]] = []
        """A heap of those whose pace does not allow a look yet, by when it will."""
        self._ripe: dict[PollSlot, None] = {}
        """Those whose pace allows a look, the longest first."""
        self._seated = 0
        self._kept: set[PollReason] = set()
        self._rests: dict[PollReason, anyio.CancelScope] = {}
        """What ends the rest of a watch at once."""
        self._places = {poll_reason: anyio.Semaphore(MAX_LOOKS) for poll_reason in PollReason}

    @contextmanager
    def open_poll_slot(
        self, entry: LiveRun, age_seconds: float, get_forecast: Callable[[], Forecast]
    ) -> Iterator[PollSlot]:
        """Give a run a seat for as long as it is followed; it was started so long ago."""
        now = self._clock.monotonic()
        poll_slot = PollSlot(entry, PollState(now - age_seconds, now - age_seconds, now), get_forecast)
        self._seated += 1
        try:
            yield poll_slot
        finally:
            poll_slot.leave_place()
            poll_slot.is_taken = False
            self._ripe.pop(poll_slot, None)
            self._seated -= 1
            if not self._seated:
                self._wake()

    async def wait_for_turn(self, poll_slot: PollSlot) -> RunStatus | None:
        """Wait until this run is to be looked at; the request is taken from the budget by then.

        Returns:
            What the request for another run has told of this one; None when it is to be read now.

        Raises:
            ProviderError: There is no way to the provider just now, which counts as a look that failed.
        """
        poll_slot.leave_place()
        poll_slot.turn, poll_slot.problem, poll_slot.look, poll_slot.is_alone = anyio.Event(), None, None, False
        poll_slot.crowd = 1 if self._account.budget.limit else self._seated
        poll_slot.chance = self._draw() if poll_slot.crowd > 1 else 0.0
        self._rest(poll_slot)
        self._keep_watch()
        await poll_slot.turn.wait()
        if poll_slot.problem is not None:
            raise poll_slot.problem
        return poll_slot.look

    def _rest(self, poll_slot: PollSlot) -> None:
        """Put a seat among those that rest: until it is due, or until somebody may have begun to wait for a failing run."""
        due_at = self._get_due(poll_slot)
        if poll_slot.live.failures:
            due_at = min(due_at, self._clock.monotonic() + FAILED_POLL[True].longest_seconds)
            # Sooner than a watch wakes by itself, which knows of no pause shorter than the first one.
            self._wake()
        heapq.heappush(self._resting, (due_at, next(self._order), poll_slot))

    def _get_due(self, poll_slot: PollSlot) -> float:
        pause = get_next_pause(
            self._pace,
            looks=poll_slot.live.looks,
            failures=poll_slot.live.failures,
            crowd=poll_slot.crowd,
            chance=poll_slot.chance,
            is_waited=self._is_waited(poll_slot.entry) or self._has_caller(poll_slot.entry),
        )
        return poll_slot.live.asked_at + pause

    def _keep_watch(self) -> None:
        demands = tuple(PollReason) if self._account.budget.limit else (PollReason.WAITED,)
        for poll_reason in demands:
            if poll_reason not in self._kept:
                self._kept.add(poll_reason)
                name = f"watch over {self._account.account.provider}, {poll_reason.value}"
                self._supervisor.spawn(name, self._watch, poll_reason, on_crash=self._give_up_all)

    async def _watch(self, poll_reason: PollReason) -> None:
        """Hand out turns for one reason until nobody has a seat."""
        try:
            while self._seated:
                if self._choose(poll_reason) is None:
                    with anyio.CancelScope() as self._rests[poll_reason]:
                        await self._clock.sleep(self._get_rest())
                else:
                    await self._hand_out(poll_reason)
        finally:
            self._kept.discard(poll_reason)

    async def _hand_out(self, poll_reason: PollReason) -> None:
        place, problem = self._places[poll_reason], None
        await place.acquire()
        try:
            await self._account.wait_for_turn(_PRIORITIES[poll_reason])
        except ProviderError as exc:
            problem = exc
        except BaseException:
            place.release()
            raise
        # While we stood in line, runs have come, gone and ended: now is the time to decide.
        poll_slot = self._choose(poll_reason) or self._choose_any()
        if poll_slot is None:
            place.release()
            return
        party = [poll_slot] if problem else self._gather(poll_slot)
        if len(party) > 1:
            self._send_out(party, place)
            return
        poll_slot.place, poll_slot.problem = place, problem
        self._call(poll_slot)

    def _gather(self, leader: PollSlot) -> list[PollSlot]:
        """Return the run that a request goes to, and those that it may take along."""
        most = self._many.get_most()
        if most == 1 or leader.is_alone:
            return [leader]
        others: dict[str, PollSlot] = {}
        for poll_slot in self._ripe:
            # One id twice would be told as one run, whose end counts once.
            if (
                not poll_slot.is_alone
                and poll_slot.provider_run_id != leader.provider_run_id
                and self._is_wanted(poll_slot.entry)
            ):
                others.setdefault(poll_slot.provider_run_id, poll_slot)
        poll_slots = list(others.values())
        chosen = choose_companions(
            [self._describe(poll_slot) for poll_slot in poll_slots], self._clock.monotonic(), most - 1
        )
        return [leader, *(poll_slots[n] for n in chosen)]

    def _send_out(self, party: Sequence[PollSlot], place: anyio.Semaphore) -> None:
        for poll_slot in party:
            del self._ripe[poll_slot]
        name = f"look at several runs of {self._account.account.provider}"
        self._supervisor.spawn(name, self._look_together, party, place, on_crash=partial(self._give_up, party))

    async def _look_together(self, party: Sequence[PollSlot], place: anyio.Semaphore) -> None:
        """Look at all of them with one request. Those of whom nothing is told are as ripe as they were, for a look of their own."""
        try:
            told = await self._many.fetch([poll_slot.provider_run_id for poll_slot in party])
        finally:
            place.release()
        for poll_slot in party:
            poll_slot.look = told.get(poll_slot.provider_run_id)
            if poll_slot.look is not None:
                poll_slot.turn.set()
            else:
                poll_slot.is_alone = True
                self._ripen(poll_slot)
        self._wake()

    def _choose(self, poll_reason: PollReason) -> PollSlot | None:
        """Return the run that is to be looked at for this reason, None when that can wait."""
        now = self._clock.monotonic()
        while self._resting and self._resting[0][0] <= now:
            poll_slot = heapq.heappop(self._resting)[2]
            if (
                poll_slot.live.failures
                and poll_slot.is_taken
                and self._is_wanted(poll_slot.entry)
                and self._get_due(poll_slot) > now
            ):
                self._rest(poll_slot)
            else:
                self._ripen(poll_slot)
        limit = self._account.budget.limit_to_plan
        if limit == 0:
            return next(iter(self._ripe), None)
        for poll_slot in [poll_slot for poll_slot in self._ripe if not self._is_wanted(poll_slot.entry)]:
            self._call(poll_slot)
        ripe = [self._describe(poll_slot) for poll_slot in self._ripe]
        everyone = [*ripe, *(self._describe(poll_slot) for _, _, poll_slot in self._resting if poll_slot.is_taken)]
        prices = (get_prices if self._many.get_most() == 1 else get_prices_of_many)(everyone, self._pace, limit=limit)
        if self._account.budget.can_rise:
            # Rows are looked at in their pace, with what is left: only looks that wait teach how many requests there may be.
            prices = replace(prices, left=0.0)
        n = choose_run(ripe, poll_reason, prices, now)
        return None if n is None else list(self._ripe)[n]

    def _choose_any(self) -> PollSlot | None:
        """Return a run for a request that the one it was meant for needs no more; None when none is due."""
        poll_slots = list(self._ripe)
        n = choose_likeliest([self._describe(poll_slot) for poll_slot in poll_slots], self._clock.monotonic())
        return None if n is None else poll_slots[n]

    def _ripen(self, poll_slot: PollSlot) -> None:
        if not poll_slot.is_taken:
            return
        if self._is_wanted(poll_slot.entry):
            self._ripe[poll_slot] = None
        else:
            poll_slot.turn.set()

    def _describe(self, poll_slot: PollSlot) -> PollState:
        return replace(poll_slot.live, is_waited=self._is_waited(poll_slot.entry), forecast=poll_slot.get_forecast())

    def _call(self, poll_slot: PollSlot) -> None:
        del self._ripe[poll_slot]
        poll_slot.turn.set()

    def _get_rest(self) -> float:
        """Return the seconds until the next decision. A run that comes meanwhile is not due before its first pause."""
        longest = self._pace.first_seconds
        if self._ripe:
            return min(TICK_SECONDS, longest)
        if not self._resting:
            return longest
        # Not for each of hundreds by itself: some are due nearly together.
        return min(longest, max(self._resting[0][0] - self._clock.monotonic(), longest / 100))

    def _wake(self) -> None:
        """Have every watch decide anew at once."""
        for rest in self._rests.values():
            rest.cancel()

    async def _give_up_all(self) -> None:
        """Tell every run that nobody watches over it any more, because of our own bug."""
        await self._give_up((*self._ripe, *(poll_slot for _, _, poll_slot in self._resting)))
        self._ripe.clear()
        self._resting.clear()

    async def _give_up(self, poll_slots: Iterable[PollSlot]) -> None:
        for poll_slot in poll_slots:
            poll_slot.problem = RuntimeError("the watch over this account has crashed")
            poll_slot.turn.set()
