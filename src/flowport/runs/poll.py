"""Poll one run and apply what its provider says of it."""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Final

from flowport.domain.errors import Operation, ProviderBroken, ProviderError, ProviderRejected
from flowport.domain.models import Run, RunState, Urgency
from flowport.domain.run_events import Finished, Polled
from flowport.domain.text import format_quoted
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import RunStatus
from flowport.providers.parsing import MAX_DETAIL_LENGTH, clean_detail
from flowport.runs.durations import DurationBook, Observation
from flowport.runs.live import LiveRun, LiveRuns
from flowport.runs.pending_writes import PendingWrites
from flowport.runs.poll_schedule import LOST_AFTER_SECONDS, PollState, note_failure, note_look
from flowport.runs.poller import AccountWatch, PollSlot
from flowport.runtime.clock import Clock, Pace
from flowport.runtime.failpoints import Failpoint, trigger
from flowport.runtime.supervisor import Supervisor
from flowport.store.interface import Store


async def fetch_status(run: Run, account: OpenAccount, clock: Clock) -> RunStatus:
    """Return how a run is doing by its provider's word.

    Raises:
        ProviderError: No answer came, or it is a refusal.
    """
    await account.wait_for_turn(Priority.LOOK)
    return await poll_once(run, account, clock)


async def poll_once(run: Run, account: OpenAccount, clock: Clock) -> RunStatus:
    """Return how a run is doing; the request was taken from the budget.

    Raises:
        ProviderError: No answer came, or it is a refusal.
    """
    provider = account.provider
    answer = await account.send_now(provider.build_status_request(run.provider_run_id))
    look = provider.parse_status(answer, now=clock.now())
    if look.told_run_id not in {"", run.provider_run_id.strip()}:
        # A mistaken cache or gateway: its state and its files belong to somebody else.
        raise ProviderBroken(provider.title, Operation.READ_RUN, answer.status, "it described another run")
    return look


def is_unknown_there(error: ProviderError) -> bool:
    """Tell whether the provider says that there is no such run."""
    return isinstance(error, ProviderRejected) and error.status == 404  # noqa: PLR2004


logger = logging.getLogger(__name__)

_MAX_UNREAD_SHOWN: Final = 3

PATIENCE_SECONDS: Final = 50.0
"""How long a call usually waits for its run."""


@dataclass(frozen=True, slots=True)
class Followed:
    """How following a run has ended."""

    run: Run
    is_ours: bool
    """Whether this process wrote the end, and so has its outputs to save."""


class RunFollower:
    """Follows started runs to their end."""

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
    ) -> None:
        """Make a follower.

        Args:
            supervisor: Owns the watches.
            durations: How long apps take; None for a book of its own.
            patience_seconds: For so long after it was asked for, a run counts as waited for.
        """
        self._store = store
        self._writer = writer
        self._live_runs = live_runs
        self._clock = clock
        self._pace = pace
        self._supervisor = supervisor
        self._durations = durations or DurationBook(store)
        self._patience_seconds = patience_seconds
        self._watches: dict[str, AccountWatch] = {}
        self._unheard: set[tuple[str, str]] = set()

    async def follow(self, run: Run, account: OpenAccount) -> Followed:
        """Return the run when it is over, or as it stands when somebody asked to stop following it."""
        entry = self._live_runs.get(run.id)
        if entry is None:
            return Followed(run, is_ours=False)
        if account.budget.limit:
            await self._durations.load(run.account_id, run.app_id)
        watch = self._get_watch(account)
        age = 0.0 if run.started_at is None else max(0.0, self._clock.now() - run.started_at)
        with watch.open_poll_slot(
            entry, age, partial(self._durations.get_forecast, run.account_id, run.app_id)
        ) as poll_slot:
            return await self._look_to_the_end(run, account, watch, poll_slot)

    async def _look_to_the_end(
        self, run: Run, account: OpenAccount, watch: AccountWatch, poll_slot: PollSlot
    ) -> Followed:
        lost_since: float | None = None
        while True:
            try:
                look = await watch.wait_for_turn(poll_slot)
                if not self._is_wanted(poll_slot.entry):
                    return Followed(run, is_ours=False)
                trigger(Failpoint.WHILE_FOLLOWING)
                look = look or await poll_once(run, account, self._clock)
            except ProviderError as exc:
                now = self._clock.monotonic()
                poll_slot.live = note_failure(poll_slot.live, now)
                lost_since = (now if lost_since is None else lost_since) if is_unknown_there(exc) else None
                # What the built-in sandbox does not know was lost with its stored state, and will not come back.
                patience_seconds = 0.0 if account.is_sandbox else LOST_AFTER_SECONDS
                if lost_since is not None and now - lost_since >= patience_seconds:
                    return await self._finish(run, RunStatus(RunState.FAILED), failure=_format_lost(account))
                self._live_runs.update(run, problem=f"{exc.explanation} Flowport looks again by itself.")
                await self._writer.flush(run)
                continue
            lost_since = None
            self._note_status(account, look)
            if look.state.is_final:
                self._note_duration(run, poll_slot.live, look)
                return await self._finish(run, look, failure=_format_failure(account, look))
            poll_slot.live = note_look(poll_slot.live, self._clock.monotonic())
            run = await self._note_look(run, look, problem=_format_unheard(account, look))

    def _get_watch(self, account: OpenAccount) -> AccountWatch:
        known = self._watches.get(account.account.id)
        if known is None:
            known = self._watches[account.account.id] = AccountWatch(
                account,
                self._clock,
                self._pace,
                self._supervisor,
                is_waited=self._is_waited,
                has_caller=self._has_caller,
                is_wanted=self._is_wanted,
            )
        return known

    def _is_waited(self, entry: LiveRun) -> bool:
        """Tell whether somebody waits for a run: a call does, or one has just asked for this very run."""
        is_fresh = self._clock.monotonic() - entry.noted_at < self._patience_seconds
        return entry.waiters > 0 or (is_fresh and entry.urgency is Urgency.WAITED)

    def _has_caller(self, entry: LiveRun) -> bool:
        """Tell whether a call waits for a run or for its batch. A row stays one in the order of looks."""
        batch = self._live_runs.get(entry.run.batch_id) if entry.run.batch_id else None
        return entry.waiters > 0 or (batch is not None and batch.waiters > 0)

    def _is_wanted(self, entry: LiveRun) -> bool:
        """Tell whether a run is still to be looked at; who stopped and began again has another entry, and its own seat."""
        return entry.run.is_followed and self._live_runs.get(entry.run.id) is entry

    def _note_duration(self, run: Run, live: PollState, look: RunStatus) -> None:
        if look.state is RunState.SUCCEEDED:
            seen_alive, seen_over = live.seen_at - live.started_at, self._clock.monotonic() - live.started_at
            self._durations.note(run.account_id, run.app_id, Observation(seen_alive, seen_over))

    def _note_status(self, account: OpenAccount, look: RunStatus) -> None:
        unheard = (account.provider.title, look.unheard_status)
        if look.unheard_status and unheard not in self._unheard:
            self._unheard.add(unheard)
            logger.info("%s has called a run %r; that counts as %s", *unheard, look.state.value)

    async def _note_look(self, run: Run, look: RunStatus, *, problem: str) -> Run:
        if look.state is run.state:
            await self._writer.flush(run)
        else:
            run = (await self._writer.record(run, Polled(look.state, self._clock.now()))).run
        self._live_runs.update(run, problem=problem)
        return run

    async def _finish(self, run: Run, look: RunStatus, *, failure: str) -> Followed:
        """Write the end down. The price counts as spent whatever the end: no provider here says that a failure is free."""
        now = self._clock.now()
        if (entry := self._live_runs.get(run.id)) is not None:
            entry.over_after_seconds = self._clock.monotonic() - entry.noted_at
        end = Finished(
            look.state,
            now,
            look.outputs,
            failure,
            # As the provider says, where it does: of a run that was cancelled it may give a part back.
            spent_credits=(run.price_credits or 0.0) if look.cost_credits is None else look.cost_credits,
            is_cost_told=look.cost_credits is not None,
        )
        written = await self._writer.record(run, end)
        # Where another process recorded the end before us, it saves the outputs.
        return Followed(written.run, is_ours=not written.is_stale)


def _format_unheard(account: OpenAccount, look: RunStatus) -> str:
    """Return the sentence about a word of the provider that is in no table; empty when it is a known one."""
    if not look.unheard_status:
        return ""
    told = format_quoted(look.unheard_status)
    return (
        f"{account.provider.title} calls the state of this run {told}, a word that Flowport does not know. Flowport "
        "treats it as running until results or an end come."
    )


def _format_lost(account: OpenAccount) -> str:
    if account.is_sandbox:
        return f"{account.provider.title} that had this run was ended, and no longer knows it. The same call starts it again."
    return f"{account.provider.title} no longer knows this run, so Flowport cannot get its result."


def _format_failure(account: OpenAccount, look: RunStatus) -> str:
    if not look.unread:
        return _format_end(account, look)
    shown = (format_quoted(clean_detail(kept), limit=MAX_DETAIL_LENGTH) for kept in look.unread[:_MAX_UNREAD_SHOWN])
    listed = ", ".join(shown) + ", ..." * (len(look.unread) > _MAX_UNREAD_SHOWN)
    plural = "s" * (len(look.unread) != 1)
    end = _format_end(account, look)
    return f"{end} {len(look.unread)} item{plural} of the result could not be read: {listed}.".strip()


def _format_end(account: OpenAccount, look: RunStatus) -> str:
    title = account.provider.title
    silence = f" {title} does not say why."
    if look.unheard_status:
        silence = f" {title} calls its state {format_quoted(look.unheard_status)} and says no more."
    detail = f' {title} says: "{look.detail}"' if look.detail else silence
    match look.state:
        case RunState.FAILED:
            return f"The app failed.{detail}"
        case RunState.PARTIAL:
            return f"Some steps of the app failed; what it made is here.{detail}"
        case RunState.CANCELLED:
            return "The run was cancelled at the provider." + (detail if look.detail else "")
        case RunState.SUCCEEDED if not look.outputs:
            return f"The app finished, but {title} handed over no result that Flowport can read."
        case _:
            return ""
