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
from flowport.providers.interface import RunLook
from flowport.runs.durations import Forecast
from flowport.runs.live import BoardEntry
from flowport.runs.poll_schedule import (
    FAILED_POLL,
    Demand,
    LiveRun,
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
        ability = self._account.provider.many_looks
        is_closed = not self._account.budget.is_limited or self._clock.monotonic() < self._closed_until
        return 1 if ability is None or is_closed else ability.most

    async def fetch(self, provider_run_ids: Sequence[str]) -> Mapping[str, RunLook]:
        """Return how the runs are doing, as far as it is told; the request was taken from the budget.

        Nothing is told when it goes wrong, and then nobody tries again for a while.
        """
        ability = self._account.provider.many_looks
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
    Demand.WAITED: Priority.LOOK,
    Demand.OVER: Priority.LOOK_OVER,
    Demand.LEFT: Priority.LOOK_ROW,
}


@dataclass(slots=True, eq=False)
class Seat:
    """A run that waits for its next look. Mutable: it changes with every look."""

    entry: BoardEntry
    live: LiveRun
    get_forecast: Callable[[], Forecast]
    turn: anyio.Event = field(default_factory=anyio.Event)
    """Set when it is the run's turn, or when there is nothing to wait for any more."""
    problem: Exception | None = None
    """Why there is a turn and no request can be sent; None when it can."""
    look: RunLook | None = None
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
        is_waited: Callable[[BoardEntry], bool],
        has_caller: Callable[[BoardEntry], bool],
        is_wanted: Callable[[BoardEntry], bool],
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
        self._resting: list[tuple[float, int, Seat]] = []
        """A heap of those whose pace does not allow a look yet, by when it will."""
        self._ripe: dict[Seat, None] = {}
        """Those whose pace allows a look, the longest first."""
        self._seated = 0
        self._kept: set[Demand] = set()
        self._rests: dict[Demand, anyio.CancelScope] = {}
        """What ends the rest of a watch at once."""
        self._places = {demand: anyio.Semaphore(MAX_LOOKS) for demand in Demand}

    @contextmanager
    def open_seat(self, entry: BoardEntry, age_seconds: float, get_forecast: Callable[[], Forecast]) -> Iterator[Seat]:
        """Give a run a seat for as long as it is followed; it was started so long ago."""
        now = self._clock.monotonic()
        seat = Seat(entry, LiveRun(now - age_seconds, now - age_seconds, now), get_forecast)
        self._seated += 1
        try:
            yield seat
        finally:
            seat.leave_place()
            seat.is_taken = False
            self._ripe.pop(seat, None)
            self._seated -= 1
            if not self._seated:
                self._wake()

    async def wait_for_turn(self, seat: Seat) -> RunLook | None:
        """Wait until this run is to be looked at; the request is taken from the budget by then.

        Returns:
            What the request for another run has told of this one; None when it is to be read now.

        Raises:
            ProviderError: There is no way to the provider just now, which counts as a look that failed.
        """
        seat.leave_place()
        seat.turn, seat.problem, seat.look, seat.is_alone = anyio.Event(), None, None, False
        seat.crowd = 1 if self._account.budget.limit else self._seated
        seat.chance = self._draw() if seat.crowd > 1 else 0.0
        self._rest(seat)
        self._keep_watch()
        await seat.turn.wait()
        if seat.problem is not None:
            raise seat.problem
        return seat.look

    def _rest(self, seat: Seat) -> None:
        """Put a seat among those that rest: until it is due, or until somebody may have begun to wait for a failing run."""
        due_at = self._get_due(seat)
        if seat.live.failures:
            due_at = min(due_at, self._clock.monotonic() + FAILED_POLL[True].longest_seconds)
            # Sooner than a watch wakes by itself, which knows of no pause shorter than the first one.
            self._wake()
        heapq.heappush(self._resting, (due_at, next(self._order), seat))

    def _get_due(self, seat: Seat) -> float:
        pause = get_next_pause(
            self._pace,
            looks=seat.live.looks,
            failures=seat.live.failures,
            crowd=seat.crowd,
            chance=seat.chance,
            is_waited=self._is_waited(seat.entry) or self._has_caller(seat.entry),
        )
        return seat.live.asked_at + pause

    def _keep_watch(self) -> None:
        demands = tuple(Demand) if self._account.budget.limit else (Demand.WAITED,)
        for demand in demands:
            if demand not in self._kept:
                self._kept.add(demand)
                name = f"watch over {self._account.account.provider}, {demand.value}"
                self._supervisor.spawn(name, self._watch, demand, on_crash=self._give_up_all)

    async def _watch(self, demand: Demand) -> None:
        """Hand out turns for one reason until nobody has a seat."""
        try:
            while self._seated:
                if self._choose(demand) is None:
                    with anyio.CancelScope() as self._rests[demand]:
                        await self._clock.sleep(self._get_rest())
                else:
                    await self._hand_out(demand)
        finally:
            self._kept.discard(demand)

    async def _hand_out(self, demand: Demand) -> None:
        place, problem = self._places[demand], None
        await place.acquire()
        try:
            await self._account.wait_for_turn(_PRIORITIES[demand])
        except ProviderError as exc:
            problem = exc
        except BaseException:
            place.release()
            raise
        # While we stood in line, runs have come, gone and ended: now is the time to decide.
        seat = self._choose(demand) or self._choose_any()
        if seat is None:
            place.release()
            return
        party = [seat] if problem else self._gather(seat)
        if len(party) > 1:
            self._send_out(party, place)
            return
        seat.place, seat.problem = place, problem
        self._call(seat)

    def _gather(self, leader: Seat) -> list[Seat]:
        """Return the run that a request goes to, and those that it may take along."""
        most = self._many.get_most()
        if most == 1 or leader.is_alone:
            return [leader]
        others: dict[str, Seat] = {}
        for seat in self._ripe:
            # One id twice would be told as one run, whose end counts once.
            if not seat.is_alone and seat.provider_run_id != leader.provider_run_id and self._is_wanted(seat.entry):
                others.setdefault(seat.provider_run_id, seat)
        seats = list(others.values())
        chosen = choose_companions([self._describe(seat) for seat in seats], self._clock.monotonic(), most - 1)
        return [leader, *(seats[n] for n in chosen)]

    def _send_out(self, party: Sequence[Seat], place: anyio.Semaphore) -> None:
        for seat in party:
            del self._ripe[seat]
        name = f"look at several runs of {self._account.account.provider}"
        self._supervisor.spawn(name, self._look_together, party, place, on_crash=partial(self._give_up, party))

    async def _look_together(self, party: Sequence[Seat], place: anyio.Semaphore) -> None:
        """Look at all of them with one request. Those of whom nothing is told are as ripe as they were, for a look of their own."""
        try:
            told = await self._many.fetch([seat.provider_run_id for seat in party])
        finally:
            place.release()
        for seat in party:
            seat.look = told.get(seat.provider_run_id)
            if seat.look is not None:
                seat.turn.set()
            else:
                seat.is_alone = True
                self._ripen(seat)
        self._wake()

    def _choose(self, demand: Demand) -> Seat | None:
        """Return the run that is to be looked at for this reason, None when that can wait."""
        now = self._clock.monotonic()
        while self._resting and self._resting[0][0] <= now:
            seat = heapq.heappop(self._resting)[2]
            if seat.live.failures and seat.is_taken and self._is_wanted(seat.entry) and self._get_due(seat) > now:
                self._rest(seat)
            else:
                self._ripen(seat)
        limit = self._account.budget.limit_to_plan
        if limit == 0:
            return next(iter(self._ripe), None)
        for seat in [seat for seat in self._ripe if not self._is_wanted(seat.entry)]:
            self._call(seat)
        ripe = [self._describe(seat) for seat in self._ripe]
        everyone = [*ripe, *(self._describe(seat) for _, _, seat in self._resting if seat.is_taken)]
        prices = (get_prices if self._many.get_most() == 1 else get_prices_of_many)(everyone, self._pace, limit=limit)
        if self._account.budget.can_rise:
            # Rows are looked at in their pace, with what is left: only looks that wait teach how many requests there may be.
            prices = replace(prices, left=0.0)
        n = choose_run(ripe, demand, prices, now)
        return None if n is None else list(self._ripe)[n]

    def _choose_any(self) -> Seat | None:
        """Return a run for a request that the one it was meant for needs no more; None when none is due."""
        seats = list(self._ripe)
        n = choose_likeliest([self._describe(seat) for seat in seats], self._clock.monotonic())
        return None if n is None else seats[n]

    def _ripen(self, seat: Seat) -> None:
        if not seat.is_taken:
            return
        if self._is_wanted(seat.entry):
            self._ripe[seat] = None
        else:
            seat.turn.set()

    def _describe(self, seat: Seat) -> LiveRun:
        return replace(seat.live, is_waited=self._is_waited(seat.entry), forecast=seat.get_forecast())

    def _call(self, seat: Seat) -> None:
        del self._ripe[seat]
        seat.turn.set()

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
        await self._give_up((*self._ripe, *(seat for _, _, seat in self._resting)))
        self._ripe.clear()
        self._resting.clear()

    async def _give_up(self, seats: Iterable[Seat]) -> None:
        for seat in seats:
            seat.problem = RuntimeError("the watch over this account has crashed")
            seat.turn.set()
