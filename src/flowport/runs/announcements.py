"""What a provider's webhooks say of runs: they wake a poll, and prove starts whose reply was lost.

An event is never believed. The outcome of a run comes from the read that follows it. In a team an event may arrive at any
replica, and the process that follows the run gets it as news.
"""

from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import Final

from flowport.domain.errors import RunNotFound
from flowport.domain.models import Run, RunState
from flowport.network.account import OpenAccount
from flowport.providers.interface import WebhookEvent, Webhooks
from flowport.runs.live import LiveRuns
from flowport.runs.poll import RunPoller
from flowport.runs.recovery import Recovery
from flowport.runs.witness import RUN_KEY, StartWitness
from flowport.runtime.clock import Clock
from flowport.store.cluster import NewsKind
from flowport.store.interface import Store

RECHECK_SECONDS: Final = 1.0
"""Between two looks at a run that another process starts, or left while it was starting."""


class Reception(Enum):
    """What became of an event."""

    TAKEN = "taken"
    """It was about a run that is followed, or is over, or was settled by it."""
    FOREIGN = "foreign"
    """It names another run of the provider than the one that its address belongs to."""
    UNSETTLED = "unsettled"
    """It may prove a start, which could not be confirmed yet; it should be delivered again."""


class Announcements:
    """Takes the events of runs."""

    def __init__(
        self,
        *,
        witness: StartWitness,
        poller: RunPoller,
        recovery: Recovery,
        accounts: Mapping[str, OpenAccount],
        store: Store,
        live_runs: LiveRuns,
        clock: Clock,
    ) -> None:
        self._witness = witness
        self._poller = poller
        self._recovery = recovery
        self._accounts = accounts
        self._store = store
        self._live_runs = live_runs
        self._clock = clock
        self.counts: Counter[str] = Counter()
        """How many deliveries had which outcome, for metrics."""

    async def find_run(self, run_id: str) -> Run | None:
        """Return a run of any owner; None if it is not on record.

        Raises:
            StoreError: The store cannot be read.
        """
        entry = self._live_runs.get(run_id)
        if entry is not None:
            return entry.run
        try:
            return await self._store.get_run_of_any_owner(run_id)
        except RunNotFound:
            return None

    def get_webhooks(self, run: Run) -> Webhooks | None:
        """Return how the events of a run are read; None when its account is not open, or has no webhooks."""
        account = self._accounts.get(run.account_id)
        return None if account is None else account.provider.capabilities.webhooks

    async def take(self, run_id: str, event: WebhookEvent) -> Reception:
        """Take an event of a run, once the outcome of its start is known; the caller limits the time.

        Raises:
            StoreError: The store cannot be read.
        """
        if event.metadata.get(RUN_KEY, run_id) != run_id:
            return Reception.FOREIGN
        try:
            run = await self._wait_until_started(run_id, event)
        finally:
            self._witness.forget_early(run_id)
        if run is None or run.is_batch:
            return Reception.FOREIGN
        if run.state is RunState.UNKNOWN:
            confirmed = await self._witness.confirm(run, event.provider_run_id)
            if confirmed is None:
                return Reception.UNSETTLED
            await self._recovery.resume(confirmed)
            run = confirmed
        if run.provider_run_id != event.provider_run_id:
            return Reception.FOREIGN
        account = self._accounts.get(run.account_id)
        if account is not None:
            self._poller.announce(run.id, account, is_end=not event.is_beginning)
        if self._live_runs.get(run.id) is None:
            await self._live_runs.news.send(NewsKind.BEGUN if event.is_beginning else NewsKind.ANNOUNCED, run)
        return Reception.TAKEN

    async def _wait_until_started(self, run_id: str, event: WebhookEvent) -> Run | None:
        """Return a run whose start has an outcome; an event may overtake the reply to the start request."""
        while True:
            changed = self._live_runs.news.get_event(run_id)
            entry = self._live_runs.get(run_id)
            run = await self.find_run(run_id)
            is_open = run is not None and run.state in {RunState.ACCEPTED, RunState.STARTING}
            # Its waiting callers learn of the unknown outcome first.
            is_ending = run is not None and entry is not None and run.state is RunState.UNKNOWN
            if not is_open and not is_ending:
                return run
            self._witness.note_early(run_id, event.provider_run_id)
            if entry is not None:
                await entry.changed.wait()
            else:
                with self._clock.move_on_after(RECHECK_SECONDS):
                    await changed.wait()
