"""Poll the live runs of one account, each alone or several by bulk status, as `steps` decides."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import inf
from typing import Final

import anyio

from flowport.domain.errors import ProviderError
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import RunStatus
from flowport.runs.bulk_status import FAILED_SECONDS, BulkStatusReader
from flowport.runs.live import LiveRun
from flowport.runs.poll_slots import PollSlot, RestingSlots
from flowport.runs.steps import (
    FAILED_POLL,
    GATHER_SECONDS,
    LAST_STARTS_MINUTES,
    POLLS_IN_ONE,
    Pace,
    PollReason,
    PollState,
    Reporting,
    choose_companions,
    choose_run,
    get_gap_seconds,
    get_next_pause,
    get_ripe_at,
)
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Clock

MAX_POLLS: Final = 32
"""Polls in progress at once, for each reason; a slow provider is not sent more and more."""

TICK_SECONDS: Final = 0.5
"""Between two decisions while the pace allows polls and none is worth a request yet."""

_PRIORITIES: Final = {
    PollReason.WAITED: Priority.POLL,
    PollReason.DUE_ROW: Priority.POLL_DUE_ROW,
    PollReason.ROW: Priority.POLL_ROW,
}


class AccountPoller:
    """Decides which run of one account is polled next, and lets its task send the request."""

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
        count_unstarted: Callable[[], int] = lambda: 0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Make a poller; it is idle until a slot is opened.

        Args:
            is_waited: Whether a caller waits for a run right now.
            has_caller: Whether a call waits for the run, or for the batch of which it is a row.
            is_wanted: Whether a run is still to be polled.
            count_unstarted: Returns how many rows of the account wait to be started.
            draw: Returns a random number from 0 to 1 that spreads the polls where no limit does.
        """
        self._account = account
        self._clock = clock
        self._pace = pace
        self._supervisor = supervisor
        self._is_waited = is_waited
        self._has_caller = has_caller
        self._is_wanted = is_wanted
        self._count_unstarted = count_unstarted
        self._draw = draw
        self._bulk = BulkStatusReader(account, clock)
        self._resting = RestingSlots()
        self._ripe: dict[PollSlot, None] = {}
        """Slots whose pace allows a poll, the oldest first."""
        self._slots: dict[PollSlot, None] = {}
        """All that are open."""
        self._by_run: dict[str, PollSlot] = {}
        self._reporting = Reporting()
        self._gather_seconds = 0.0
        """As of the last decision."""
        self._working: set[PollReason] = set()
        self._rests: dict[PollReason, anyio.CancelScope] = {}
        """Cancelling one ends the rest of its task at once."""
        self._permits = {reason: anyio.Semaphore(MAX_POLLS) for reason in PollReason}

    @contextmanager
    def open_poll_slot(
        self, entry: LiveRun, age_seconds: float, get_usual_seconds: Callable[[], float]
    ) -> Iterator[PollSlot]:
        """Open a slot for a run that started so long ago; leaving closes it."""
        now = self._clock.monotonic()
        live = PollState(now - age_seconds, now - age_seconds, now, announced_at=entry.announced_at)
        slot = PollSlot(entry, live, get_usual_seconds)
        self._slots[slot] = None
        self._by_run[entry.run.id] = slot
        try:
            yield slot
        finally:
            slot.release_permit()
            slot.is_open = False
            self._ripe.pop(slot, None)
            del self._slots[slot]
            if self._by_run.get(entry.run.id) is slot:
                del self._by_run[entry.run.id]
            if not self._slots:
                self._wake()

    async def wait_for_turn(self, slot: PollSlot) -> RunStatus | None:
        """Wait until this run is to be polled; the rate limiter has granted the request by then.

        Returns:
            The status that a bulk request has returned; None when the run is to be polled now.

        Raises:
            ProviderError: The provider cannot be reached, which counts as a failed poll.
        """
        slot.release_permit()
        slot.turn, slot.problem, slot.status, slot.is_alone = anyio.Event(), None, None, False
        slot.crowd = 1 if self._account.limiter.limit else len(self._slots)
        slot.chance = self._draw() if slot.crowd > 1 else 0.0
        self._rest(slot)
        self._ensure_tasks()
        await slot.turn.wait()
        if slot.problem is not None:
            raise slot.problem
        return slot.status

    def _rest(self, slot: PollSlot) -> None:
        """Let a slot rest until its pace allows a poll, or until a caller may have begun to wait for a failing run."""
        ripe_at = self._get_ripe_at(slot)
        if slot.live.failures:
            ripe_at = min(ripe_at, self._clock.monotonic() + FAILED_POLL[True].longest_seconds)
            # A task that rests has not planned with a pause shorter than the first one.
            self._wake()
        elif slot.live.announced_at is not None:
            self._wake()
        self._resting.put(slot, ripe_at)

    def announce(self, run_id: str) -> None:
        """Poll a run at once, whatever the pace allows, because its provider says that it may be over."""
        slot = self._by_run.get(run_id)
        if slot is None or slot.entry.announced_at is None:
            return
        slot.live = replace(slot.live, announced_at=slot.entry.announced_at)
        if self._resting.remove(slot):
            self._ripen(slot)
        self._wake()

    def note_event(self, *, is_end: bool) -> None:
        """Record that a webhook of the account arrived."""
        self._reporting = self._reporting.note_end() if is_end else self._reporting.note_beginning()

    def note_over(self, slot: PollSlot) -> None:
        """Record that a poll found a run over: where no webhook announced that, fewer are relied on."""
        if not slot.entry.is_reported or slot.entry.announced_at is not None:
            return
        was_reliable, self._reporting = self._reporting.is_reliable, self._reporting.note_missed()
        if was_reliable and not self._reporting.is_reliable:
            for one in self._resting.drain():
                self._rest(one)
            self._wake()

    def _get_ripe_at(self, slot: PollSlot) -> float:
        pause_seconds = get_next_pause(
            self._pace,
            polls=slot.live.polls,
            failures=slot.live.failures,
            crowd=slot.crowd,
            chance=slot.chance,
            is_waited=self._is_waited(slot.entry) or self._has_caller(slot.entry),
        )
        return get_ripe_at(self._describe(slot), pause_seconds)

    def _ensure_tasks(self) -> None:
        for reason in PollReason if self._account.limiter.limit else (PollReason.WAITED,):
            if reason not in self._working:
                self._working.add(reason)
                name = f"polls of {self._account.account.provider}, {reason.value}"
                self._supervisor.spawn(name, self._work, reason, on_crash=self._abandon_all)

    async def _work(self, reason: PollReason) -> None:
        """Poll for one reason until no slot is open."""
        try:
            while self._slots:
                if self._choose(reason) is None:
                    with anyio.CancelScope() as self._rests[reason]:
                        await self._clock.sleep(self._get_rest_seconds())
                else:
                    await self._poll_one(reason)
        finally:
            self._working.discard(reason)

    async def _poll_one(self, reason: PollReason) -> None:
        permit, problem = self._permits[reason], None
        await permit.acquire()
        try:
            await self._account.wait_for_turn(_PRIORITIES[reason])
        except ProviderError as exc:
            problem = exc
        except BaseException:
            permit.release()
            raise
        # Runs have started and ended while the request was queued, so the decision is made now.
        slot = self._choose(reason) or self._choose_any()
        if slot is None:
            permit.release()
            return
        party = [slot] if problem else self._gather(slot)
        if len(party) > 1:
            for member in party:
                del self._ripe[member]
            name = f"bulk status of {self._account.account.provider}"
            self._supervisor.spawn(
                name, self._poll_together, party, permit, on_crash=partial(self._abandon_party, party)
            )
            return
        slot.permit, slot.problem = permit, problem
        self._call(slot)

    def _gather(self, leader: PollSlot) -> list[PollSlot]:
        """Return the slot that a request is for, and those that it may include."""
        most = self._bulk.get_most()
        if most == 1 or leader.is_alone:
            return [leader]
        # An id that two slots share would be answered once, and its end counted once.
        others = {slot.provider_run_id: slot for slot in reversed(self._ripe) if not slot.is_alone}
        others.pop(leader.provider_run_id, None)
        slots = [slot for slot in others.values() if self._is_wanted(slot.entry)]
        chosen = choose_companions([self._describe(slot) for slot in slots], most - 1)
        return [leader, *(slots[n] for n in chosen)]

    async def _poll_together(self, party: Sequence[PollSlot], permit: anyio.Semaphore) -> None:
        """Poll several runs with one request. Those that the response leaves out stay ripe, each for a poll of its own."""
        for slot in party:
            slot.sent_at = self._clock.monotonic()
        try:
            statuses = await self._bulk.fetch([slot.provider_run_id for slot in party])
        finally:
            permit.release()
        for slot in party:
            slot.status = statuses.get(slot.provider_run_id)
            if slot.status is not None:
                slot.turn.set()
            else:
                slot.is_alone = True
                self._ripen(slot)
        self._wake()

    def _choose(self, reason: PollReason) -> PollSlot | None:
        """Return the slot to poll for this reason; None when that can wait."""
        now = self._clock.monotonic()
        while (slot := self._resting.pop(now)) is not None:
            is_failing = slot.live.failures and slot.is_open and self._is_wanted(slot.entry)
            if is_failing and self._get_ripe_at(slot) > now:
                self._rest(slot)
            else:
                self._ripen(slot)
        if not self._account.limiter.limit:
            return next(iter(self._ripe), None)
        for slot in [slot for slot in self._ripe if not self._is_wanted(slot.entry)]:
            self._call(slot)
        slots = list(self._ripe)
        # Nothing else needs the requests that gathering saves once every row is started.
        can_gather = self._bulk.get_most() > 1 and self._count_unstarted() > 0
        self._gather_seconds = GATHER_SECONDS if can_gather else 0.0
        if not slots or (reason is PollReason.DUE_ROW and not self._must_rows_go_first()):
            return None
        n = choose_run([self._describe(slot) for slot in slots], reason, self._get_gap_seconds(reason), now)
        return None if n is None else slots[n]

    def _get_gap_seconds(self, reason: PollReason) -> float:
        limiter = self._account.limiter
        if reason is PollReason.DUE_ROW:
            return inf
        if reason is PollReason.ROW and limiter.can_rise:
            # Only requests that wait for the limiter can raise the limit, so rows keep their pace while it may rise.
            return 0.0
        polls_in_one = POLLS_IN_ONE if reason is PollReason.WAITED and self._bulk.get_most() > 1 else 1
        return get_gap_seconds(len(self._slots), self._pace, limit=limiter.limit_to_plan, polls_in_one=polls_in_one)

    def _must_rows_go_first(self) -> bool:
        """Return whether due rows are polled before others are started.

        Not when few are left to start. Nor while ends are announced: every read then finds an end, so that the sooner all rows
        are started, the sooner the last one is over.
        """
        return (
            not self._reporting.is_reliable
            and self._count_unstarted() > self._account.limiter.limit * LAST_STARTS_MINUTES
        )

    def _choose_any(self) -> PollSlot | None:
        """Return a slot for a granted request whose own run has ended; None when no slot is ripe."""
        slots = list(self._ripe)
        chosen = choose_companions([self._describe(slot) for slot in slots], 1)
        return slots[chosen[0]] if chosen else None

    def _ripen(self, slot: PollSlot) -> None:
        if not slot.is_open:
            return
        if self._is_wanted(slot.entry):
            self._ripe[slot] = None
        else:
            slot.turn.set()

    def _describe(self, slot: PollSlot) -> PollState:
        live, is_waited, usual_seconds = slot.live, self._is_waited(slot.entry), slot.get_usual_seconds()
        is_expected = slot.entry.is_reported and not live.was_misled and not (slot.is_inherited and live.polls == 0)
        is_reported = is_expected and self._reporting.is_reliable
        now = (is_waited, usual_seconds, is_reported, self._gather_seconds)
        if now != (live.is_waited, live.usual_seconds, live.is_reported, live.gather_seconds):
            slot.live = replace(
                live,
                is_waited=is_waited,
                usual_seconds=usual_seconds,
                is_reported=is_reported,
                gather_seconds=self._gather_seconds,
            )
        return slot.live

    def _call(self, slot: PollSlot) -> None:
        del self._ripe[slot]
        slot.sent_at = self._clock.monotonic()
        slot.turn.set()

    def _get_rest_seconds(self) -> float:
        """Return the seconds until the next decision. A run that comes meanwhile is not due before its first pause."""
        longest = self._pace.first_seconds
        if self._ripe:
            return min(TICK_SECONDS, longest)
        if self._resting.next_at == inf:
            return longest
        # Hundreds that are due nearly together share one decision.
        return min(longest, max(self._resting.next_at - self._clock.monotonic(), longest / 100))

    def _wake(self) -> None:
        """Let every task decide again at once."""
        for rest in self._rests.values():
            rest.cancel()

    async def _abandon_all(self) -> None:
        """Fail every slot after an internal error."""
        await self._abandon((*self._ripe, *self._resting.drain()))
        self._ripe.clear()

    async def _abandon_party(self, party: Sequence[PollSlot]) -> None:
        """Fail the slots of a bulk status request after an internal error; their next polls are their own."""
        self._bulk.close(FAILED_SECONDS, "internal error")
        await self._abandon(party)

    async def _abandon(self, slots: Iterable[PollSlot]) -> None:
        for slot in slots:
            slot.problem = RuntimeError("the poller of this account has crashed")
            slot.turn.set()
