"""Poll one run to its end, and record each status that its provider reports."""

import logging
import math
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from flowport.domain.errors import Operation, ProviderBroken, ProviderError, ProviderRejected, StoreError
from flowport.domain.models import Run, RunState, Urgency
from flowport.domain.run_events import Finished, Polled
from flowport.domain.text import format_quoted
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import RunStatus
from flowport.providers.parsing import MAX_DETAIL_LENGTH, clean_detail
from flowport.runs.live import LiveRun, LiveRuns, PendingWrites
from flowport.runs.poll_slots import PollSlot
from flowport.runs.poller import AccountPoller
from flowport.runs.steps import LOST_AFTER_SECONDS, UNKNOWN_SECONDS, Pace, note_failure, note_poll
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Clock
from flowport.runtime.failpoints import Failpoint, trigger
from flowport.store.interface import Store
from flowport.store.records import MIN_DURATIONS

logger = logging.getLogger(__name__)

_MAX_UNREAD_SHOWN: Final = 3

PATIENCE_SECONDS: Final = 50.0
"""How long a call usually waits for its run."""

RELOAD_SECONDS: Final = 60.0
"""How long the durations of an app count that runs of other processes add to."""

MAX_DURATIONS: Final = 200
"""Of the runs of an app that ended in this process, the latest count."""


@dataclass(frozen=True, slots=True)
class Usual:
    """How long an app's runs take."""

    median_seconds: float
    most_seconds: float
    """Nine of ten took no longer."""


@dataclass(slots=True)
class _AppDurations:
    """What is known of one app on one account."""

    history: tuple[float, ...]
    """From the store; it stays, because these durations are exact."""
    newer: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_DURATIONS))
    usual: Usual | None = None
    """Of all of them; None when it is to be worked out."""
    loaded_at: float = 0.0
    """Monotonic seconds at which the history was read."""

    def get_usual(self) -> Usual | None:
        """Return what is usual; None when nothing is known."""
        if self.usual is None and (self.history or self.newer):
            seconds = sorted((*self.history, *self.newer))
            self.usual = Usual(statistics.median(seconds), seconds[math.ceil(0.9 * len(seconds)) - 1])
        return self.usual


class DurationBook:
    """Answers how long a run of an app usually takes."""

    def __init__(self, store: Store, clock: Clock | None = None, *, is_shared: bool = False) -> None:
        """Begin empty.

        Args:
            clock: Needed where it is shared.
            is_shared: Whether runs end in other processes too: the durations are then read again from time to time.
        """
        self._store = store
        self._clock = clock
        self._lasts_seconds = RELOAD_SECONDS if is_shared else math.inf
        self._apps: dict[tuple[str, str], _AppDurations] = {}

    async def load(self, account_id: str, app_id: str) -> None:
        """Read the durations of an app from the store, if they are not known; without it they stay as they are."""
        now = 0.0 if self._clock is None else self._clock.monotonic()
        known = self._apps.get((account_id, app_id))
        if known is not None and now - known.loaded_at < self._lasts_seconds:
            return
        try:
            seconds = await self._store.get_durations(account_id=account_id, app_id=app_id)
        except StoreError as exc:
            logger.info("how long earlier runs of %s took could not be read: %s", app_id, exc)
            return
        # Another task may have loaded them meanwhile, and recorded newer ones.
        if self._apps.get((account_id, app_id)) is known:
            self._apps[account_id, app_id] = _AppDurations(tuple(seconds), loaded_at=now)

    def note(self, account_id: str, app_id: str, *, alive_seconds: float, over_seconds: float) -> None:
        """Record a run that has just succeeded, if the earlier ones are known.

        Args:
            alive_seconds: The age at which it was last seen running; 0 when the first poll found it over.
            over_seconds: The age at which it was seen over.
        """
        known = self._apps.get((account_id, app_id))
        if known is not None:
            known.newer.append((alive_seconds + over_seconds) / 2)
            known.usual = None

    def get_usual_seconds(self, account_id: str, app_id: str) -> float:
        """Return the median; a general one while nothing is known."""
        known = self._apps.get((account_id, app_id))
        usual = known.get_usual() if known is not None else None
        return UNKNOWN_SECONDS if usual is None else usual.median_seconds

    def get_usual(self, account_id: str, app_id: str) -> Usual | None:
        """Return what a person may expect; None while too few runs are known."""
        known = self._apps.get((account_id, app_id))
        if known is None or len(known.history) + len(known.newer) < MIN_DURATIONS:
            return None
        return known.get_usual()


async def fetch_status(run: Run, account: OpenAccount, clock: Clock) -> RunStatus:
    """Return the status of a run from its provider, once the rate limiter grants the request.

    Raises:
        ProviderError: There is no response, or it is a refusal.
    """
    await account.wait_for_turn(Priority.POLL)
    return await poll_once(run, account, clock)


async def poll_once(run: Run, account: OpenAccount, clock: Clock) -> RunStatus:
    """Return the status of a run from its provider; the rate limiter has granted the request.

    Raises:
        ProviderError: There is no response, or it is a refusal.
    """
    provider = account.provider
    answer = await account.send_now(provider.build_status_request(run.provider_run_id))
    status = provider.parse_status(answer, now=clock.now())
    if status.reported_run_id not in {"", run.provider_run_id.strip()}:
        # A mistaken cache or gateway: the state and the files may belong to another person.
        raise ProviderBroken(provider.title, Operation.READ_RUN, answer.status, "it described another run")
    return status


def is_unknown_there(error: ProviderError) -> bool:
    """Return whether the provider says that there is no such run."""
    return isinstance(error, ProviderRejected) and error.status == 404  # noqa: PLR2004


class RunPoller:
    """Polls started runs to their end."""

    def __init__(
        self,
        store: Store,
        live_runs: LiveRuns,
        clock: Clock,
        pace: Pace,
        writer: PendingWrites,
        *,
        supervisor: Supervisor,
        durations: DurationBook | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        is_reported: Callable[[Run, OpenAccount], bool] = lambda *_: False,
    ) -> None:
        """Make a poller of runs.

        Args:
            supervisor: Owns the polling tasks.
            durations: How long apps take; None for a book of its own.
            patience_seconds: How long after its request a run counts as waited for.
            is_reported: Whether the provider reports changes of a run that another process has started.
        """
        self._is_reported = is_reported
        self._store = store
        self._writer = writer
        self._live_runs = live_runs
        self._clock = clock
        self._pace = pace
        self._supervisor = supervisor
        self._durations = durations or DurationBook(store)
        self._patience_seconds = patience_seconds
        self._pollers: dict[str, AccountPoller] = {}
        self._unknown_words: set[tuple[str, str]] = set()
        """By provider; each is logged once."""

    async def poll(self, run: Run, account: OpenAccount) -> Run:
        """Return the run when it is over, or its last known state when polling stopped or another process claimed it."""
        entry = self._live_runs.get(run.id)
        if entry is None:
            return run
        if account.limiter.limit or entry.is_reported:
            await self._durations.load(run.account_id, run.app_id)
        poller = self._get_poller(account)
        age = 0.0 if run.started_at is None else max(0.0, self._clock.now() - run.started_at)
        get_usual_seconds = partial(self._durations.get_usual_seconds, run.account_id, run.app_id)
        with poller.open_poll_slot(entry, age, get_usual_seconds) as slot:
            if not entry.is_reported and self._is_reported(run, account):
                entry.is_reported = slot.is_inherited = True
            return await self._poll_to_the_end(run, account, poller, slot)

    async def _poll_to_the_end(self, run: Run, account: OpenAccount, poller: AccountPoller, slot: PollSlot) -> Run:
        lost_since: float | None = None
        while True:
            try:
                status = await poller.wait_for_turn(slot)
                if not self._is_wanted(slot.entry):
                    return run
                trigger(Failpoint.WHILE_FOLLOWING)
                status = status or await poll_once(run, account, self._clock)
            except ProviderError as exc:
                now = self._clock.monotonic()
                slot.live = note_failure(slot.live, now)
                lost_since = (now if lost_since is None else lost_since) if is_unknown_there(exc) else None
                # What the built-in sandbox does not know was lost with its stored state, and will not come back.
                patience_seconds = 0.0 if account.is_sandbox else LOST_AFTER_SECONDS
                if lost_since is not None and now - lost_since >= patience_seconds:
                    return await self._finish(run, RunStatus(RunState.FAILED), failure=_format_lost(account))
                self._live_runs.update(run, problem=f"{exc.explanation} Flowport looks again by itself.")
                await self._writer.flush(run)
                continue
            lost_since = None
            self._log_unknown_word(account, status)
            if status.state.is_final:
                poller.note_over(slot)
                self._note_duration(run, slot, status)
                return await self._finish(run, status, failure=_format_failure(account, status))
            slot.live = note_poll(slot.live, self._clock.monotonic(), slot.sent_at)
            noted = await self._note_status(run, status, problem=_format_unknown_word(account, status))
            if noted.lease != run.lease:
                # Another process has claimed it.
                return noted
            run = noted

    def forget_account(self, account: OpenAccount) -> None:
        """Forget the poller of an account that is closed; none of its runs is polled any more."""
        self._pollers.pop(account.account.id, None)

    def announce(self, run_id: str, account: OpenAccount, *, is_end: bool) -> None:
        """Record that a webhook is about a run; poll it at once if it may be over."""
        poller = self._get_poller(account)
        poller.note_event(is_end=is_end)
        entry = self._live_runs.get(run_id)
        if is_end and entry is not None:
            entry.announced_at = self._clock.monotonic()
            poller.announce(run_id)

    def _get_poller(self, account: OpenAccount) -> AccountPoller:
        known = self._pollers.get(account.account.id)
        if known is None:
            known = self._pollers[account.account.id] = AccountPoller(
                account,
                self._clock,
                self._pace,
                self._supervisor,
                is_waited=self._is_waited,
                has_caller=self._has_caller,
                is_wanted=self._is_wanted,
                count_unstarted=partial(self._live_runs.count_unstarted, account.account.id),
            )
        return known

    def _is_waited(self, entry: LiveRun) -> bool:
        """Return whether a caller waits for a run: a call does, or one has just requested this run."""
        is_fresh = self._clock.monotonic() - entry.noted_at < self._patience_seconds
        return entry.waiters > 0 or (is_fresh and entry.urgency is Urgency.WAITED)

    def _has_caller(self, entry: LiveRun) -> bool:
        """Return whether a call waits for a run or for its batch. A row stays a row in the order of polls."""
        batch = self._live_runs.get(entry.run.batch_id) if entry.run.batch_id else None
        return entry.waiters > 0 or (batch is not None and batch.waiters > 0)

    def _is_wanted(self, entry: LiveRun) -> bool:
        """Return whether a run is still to be polled; polling that stopped and began again has another entry and slot."""
        return entry.run.is_followed and self._live_runs.get(entry.run.id) is entry

    def _note_duration(self, run: Run, slot: PollSlot, status: RunStatus) -> None:
        live, announced_at = slot.live, slot.live.announced_at
        if status.state is RunState.SUCCEEDED:
            # An announcement is as exact as two polls just before and after the end.
            alive_at = live.seen_at if announced_at is None else announced_at
            over_at = self._clock.monotonic() if announced_at is None else announced_at
            self._durations.note(
                run.account_id,
                run.app_id,
                alive_seconds=alive_at - live.started_at,
                over_seconds=over_at - live.started_at,
            )

    def _log_unknown_word(self, account: OpenAccount, status: RunStatus) -> None:
        word = (account.provider.title, status.unknown_status)
        if status.unknown_status and word not in self._unknown_words:
            self._unknown_words.add(word)
            logger.info("%s has called a run %r; that counts as %s", *word, status.state.value)

    async def _note_status(self, run: Run, status: RunStatus, *, problem: str) -> Run:
        if status.state is run.state:
            await self._writer.flush(run)
        else:
            run = await self._writer.record(run, Polled(status.state, self._clock.now()))
        self._live_runs.update(run, problem=problem)
        return run

    async def _finish(self, run: Run, status: RunStatus, *, failure: str) -> Run:
        """Record the end. The price counts as spent whatever the end: no provider here says that a failure is free."""
        now = self._clock.now()
        if (entry := self._live_runs.get(run.id)) is not None:
            entry.over_after_seconds = self._clock.monotonic() - entry.noted_at
        end = Finished(
            status.state,
            now,
            status.outputs,
            failure,
            # The provider's own number where it gives one: it may refund a part of a run that was cancelled.
            spent_credits=(run.price_credits or 0.0) if status.cost_credits is None else status.cost_credits,
            is_cost_reported=status.cost_credits is not None,
        )
        return await self._writer.record(run, end)


def _format_unknown_word(account: OpenAccount, status: RunStatus) -> str:
    """Return the sentence about a state that is not in the provider's table; empty when it is."""
    if not status.unknown_status:
        return ""
    word = format_quoted(status.unknown_status)
    return (
        f"{account.provider.title} calls the state of this run {word}, a word that Flowport does not know. Flowport "
        "treats it as running until results or an end come."
    )


def _format_lost(account: OpenAccount) -> str:
    if account.is_sandbox:
        return f"{account.provider.title} that had this run was ended, and no longer knows it. The same call starts it again."
    return f"{account.provider.title} no longer knows this run, so Flowport cannot get its result."


def _format_failure(account: OpenAccount, status: RunStatus) -> str:
    if not status.unread:
        return _format_end(account, status)
    shown = (format_quoted(clean_detail(kept), limit=MAX_DETAIL_LENGTH) for kept in status.unread[:_MAX_UNREAD_SHOWN])
    listed = ", ".join(shown) + ", ..." * (len(status.unread) > _MAX_UNREAD_SHOWN)
    plural = "s" * (len(status.unread) != 1)
    end = _format_end(account, status)
    return f"{end} {len(status.unread)} item{plural} of the result could not be read: {listed}.".strip()


def _format_end(account: OpenAccount, status: RunStatus) -> str:
    title = account.provider.title
    silence = f" {title} does not say why."
    if status.unknown_status:
        silence = f" {title} calls its state {format_quoted(status.unknown_status)} and says no more."
    detail = f' {title} says: "{status.detail}"' if status.detail else silence
    match status.state:
        case RunState.FAILED:
            return f"The app failed.{detail}"
        case RunState.PARTIAL:
            return f"Some steps of the app failed; what it made is here.{detail}"
        case RunState.CANCELLED:
            return "The run was cancelled at the provider." + (detail if status.detail else "")
        case RunState.SUCCEEDED if not status.outputs:
            return f"The app finished, but {title} handed over no result that Flowport can read."
        case _:
            return ""
