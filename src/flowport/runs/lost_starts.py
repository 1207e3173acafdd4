"""Look for starts whose reply was lost where the provider lists runs, and let a person decide about the others.

A list is a witness only where it is certain: a run of the same app, with the same inputs, begun within minutes of the start
request, that belongs to no other run of ours. Equal starts that were lost together are settled together, since which of them
is which makes no difference. Everything else is shown to a person, who decides.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NoReturn

import anyio

from flowport.domain.backoff import Backoff
from flowport.domain.errors import FlowportError, ProviderError, ProviderRejected, RunNotFound, StoreError
from flowport.domain.models import Output, Run, RunState
from flowport.domain.run_events import Settled, Witness
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.lost_runs import ListedRun, RecentOutput
from flowport.runs.call_rebuilder import CallRebuilder
from flowport.runs.recovery import Recovery
from flowport.runs.witness import StartWitness
from flowport.store.records import Recorded

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 5.0
"""Between two looks at the record for starts to settle."""

PAUSES: Final = Backoff(3600.0, 1.0, tries=8, steps=(10.0, 30.0, 120.0, 600.0))
"""Between two searches for the same run: it may appear late, and a list of runs that does not show it will not for long."""

SEARCH_SECONDS: Final = 60.0
"""What one search may take, so that others have their turn."""

MAX_AGE_SECONDS: Final = 24 * 3600.0
"""An older unknown run is left to a person."""

MAX_SEARCHED: Final = 20
"""Unknown runs of one account that are looked for; more are a fault of another kind."""

EARLY_SECONDS: Final = 5.0
LATE_SECONDS: Final = 300.0
"""How long before and after the start request, by our clock, the provider's clock may say that its run began."""

MAX_CANDIDATES: Final = 20
"""Files and runs that a person is shown."""

LOST_FREE: Final = "A person has decided that this run was never started. Nothing was charged."
LOST_CHARGED: Final = "A person has decided that the result of this run is lost. It counts as charged."


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may belong to an unknown run."""

    runs: tuple[ListedRun, ...] = ()
    outputs: tuple[RecentOutput, ...] = ()
    problem: str = ""
    """Why the provider could not be asked, as a sentence; empty when it was, or has nothing to ask."""


@dataclass(slots=True)
class _Search:
    """How often equal starts were looked for."""

    tries: int = 0
    due_at: float = 0.0
    """By the monotonic clock."""


class LostStarts:
    """Settles the unknown runs of this process's accounts."""

    def __init__(
        self,
        witness: StartWitness,
        rebuilder: CallRebuilder,
        recovery: Recovery,
        has_turn: Callable[[], bool] = lambda: True,
    ) -> None:
        """Settle by the witness what the recovery then follows; `has_turn` says whether this process is to look."""
        self._has_turn = has_turn
        self._witness = witness
        self._rebuilder = rebuilder
        self._recovery = recovery
        self._accounts = witness.accounts
        self._store = witness.store
        self._clock = witness.clock
        self._searches: dict[tuple[str, ...], _Search] = {}

    async def keep_looking(self) -> NoReturn:
        """Look for unknown runs in the lists of their providers, now and then."""
        problem = ""
        while True:
            try:
                if self._has_turn():
                    await self.look()
                problem = ""
            except StoreError as exc:
                if str(exc) != problem:
                    logger.warning("unknown starts cannot be looked for just now: %s", exc)
                problem = str(exc)
            await self._clock.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Search once for each group of equal unknown runs whose next search is due.

        Raises:
            StoreError: The store cannot be read.
        """
        since, present = self._clock.now() - MAX_AGE_SECONDS, set[tuple[str, ...]]()
        for account in list(self._accounts.values()):
            if account.provider.capabilities.find_lost_run is None:
                continue
            unknown = await self._store.get_unknown_runs(account_id=account.account.id, since=since, limit=MAX_SEARCHED)
            for equal in _group_equal([run for run in unknown if not self._recovery.is_held_elsewhere(run)]):
                key = tuple(run.id for run in equal)
                present.add(key)
                await self._search_if_due(self._searches.setdefault(key, _Search()), equal, account)
        # Those of runs that are settled are forgotten.
        self._searches = {key: search for key, search in self._searches.items() if key in present}

    async def _search_if_due(self, search: _Search, equal: Sequence[Run], account: OpenAccount) -> None:
        if self._clock.monotonic() < search.due_at:
            return
        search.tries += 1
        is_missing = True
        try:
            with anyio.move_on_after(SEARCH_SECONDS):
                is_missing = not await self._search(equal, account)
        except FlowportError as exc:
            # A list that does not exist stays so.
            search.due_at = math.inf if isinstance(exc, ProviderRejected) else search.due_at
            logger.info("unknown starts of %s cannot be looked for: %s", equal[0].tool_name, exc)
        if is_missing and search.due_at < math.inf:
            pause = PAUSES.get_pause(search.tries)
            search.due_at = math.inf if pause is None else self._clock.monotonic() + pause

    async def _search(self, equal: Sequence[Run], account: OpenAccount) -> bool:
        """Settle equal runs by the list of their provider; return whether all are settled."""
        found = [run for run in await self._list_runs(equal[0], account) if run.has_same_inputs]
        free = [run for run in found if not await self._is_known(run, account) and _fits_any(run, equal)]
        if not free or len(free) > len(equal):
            # None of them arrived so far, or another program started the same and may have one of them.
            return False
        settled = 0
        for run, listed in zip(equal, free, strict=False):
            confirmed = await self._witness.confirm(run, listed.provider_run_id, Witness.RUN_LIST)
            if confirmed is not None:
                settled += 1
                logger.info("run %s was found in the list of %s", run.id, account.provider.title)
                await self._recovery.resume(confirmed)
        return settled == len(equal)

    async def _list_runs(self, run: Run, account: OpenAccount) -> tuple[ListedRun, ...]:
        """Return the runs of the same app that began since the start request was sent.

        Raises:
            FlowportError: The provider cannot be asked, or the call cannot be restored.
        """
        find = account.provider.capabilities.find_lost_run
        if find is None or run.starting_at is None:
            return ()
        call = await self._rebuilder.restore(run, account)
        if call is None:
            return ()
        media = {item.run_key for item in call.media}
        inputs = {key: value for key, value in call.inputs.items() if key not in media}
        return await account.converse(find(call.app, inputs, run.starting_at - EARLY_SECONDS), Priority.POLL)

    async def _is_known(self, listed: ListedRun, account: OpenAccount) -> bool:
        known = await self._store.find_run_at_provider(listed.provider_run_id, account_id=account.account.id)
        return known is not None

    async def find_candidates(self, run: Run) -> Candidates:
        """Return what may belong to an unknown run, for a person to choose from.

        Raises:
            StoreError: The store cannot be read.
        """
        account = self._accounts.get(run.account_id)
        if account is None or run.starting_at is None:
            return Candidates(problem="The key of its account is not configured, so its provider cannot be asked.")
        runs: tuple[ListedRun, ...] = ()
        outputs: tuple[RecentOutput, ...] = ()
        problem = f"{account.provider.title} has not answered in time."
        try:
            # Where the app's definition cannot be read, it is tried again for minutes.
            with anyio.move_on_after(SEARCH_SECONDS):
                listed = await self._list_runs(run, account)
                runs = tuple([one for one in listed if not await self._is_known(one, account)][:MAX_CANDIDATES])
                problem = ""
        except ProviderError as exc:
            problem = str(exc)
        try:
            outputs = await self._list_outputs(run, account)
        except ProviderError as exc:
            problem = problem or str(exc)
        return Candidates(runs, outputs, problem)

    async def _list_outputs(self, run: Run, account: OpenAccount) -> tuple[RecentOutput, ...]:
        list_recent = account.provider.capabilities.list_recent_outputs
        if list_recent is None or run.starting_at is None:
            return ()
        found = await account.converse(list_recent(run.starting_at - EARLY_SECONDS, self._clock.now()), Priority.POLL)
        urls = [one.output.url for one in found if one.output.url]
        known = await self._store.get_known_urls(urls)
        return tuple([one for one in found if one.output.url not in known][:MAX_CANDIDATES])

    async def confirm(self, run: Run, provider_run_id: str) -> Run | None:
        """Settle an unknown run by the provider's run that a person names; None when the provider does not know it."""
        confirmed = await self._witness.confirm(run, provider_run_id, Witness.PERSON)
        if confirmed is not None:
            await self._recovery.resume(confirmed)
        return confirmed

    async def settle_lost(self, run: Run, *, is_charged: bool) -> Run:
        """End an unknown run that a person has given up; return it as it is on record.

        Raises:
            StoreError: It could not be recorded.
        """
        failure = LOST_CHARGED if is_charged else LOST_FREE
        spent = run.spent_credits if is_charged else 0.0
        return await self._record(run, Settled(RunState.FAILED, self._clock.now(), spent, failure=failure))

    async def settle_with_outputs(self, run: Run, outputs: Sequence[Output]) -> Run:
        """End an unknown run with the files that a person has recognized, and begin to save them.

        Raises:
            StoreError: It could not be recorded.
        """
        numbered = tuple(replace(output, n=n) for n, output in enumerate(outputs, 1))
        event = Settled(RunState.SUCCEEDED, self._clock.now(), run.spent_credits, numbered)
        settled = await self._record(run, event)
        await self._recovery.save_settled(settled)
        return settled

    async def _record(self, run: Run, event: Settled) -> Run:
        outcome = await self._store.record(run.id, event)
        if outcome.run is None:
            raise RunNotFound(run.id)
        if isinstance(outcome, Recorded):
            logger.info("run %s was settled by a person as %s", run.id, event.state)
        return outcome.run


def _group_equal(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs that asked for the same together, oldest first."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda one: one.starting_at or 0.0):
        groups.setdefault((run.app_id, run.canonical_digest), []).append(run)
    return list(groups.values())


def _fits_any(listed: ListedRun, equal: Sequence[Run]) -> bool:
    """Return whether a run began when the start of one of these was sent."""
    starts = [run.starting_at for run in equal if run.starting_at is not None]
    return any(at - EARLY_SECONDS <= listed.begun_at <= at + LATE_SECONDS for at in starts)
