"""Save a run's outputs and go on trying behind the answer, until they are saved or cannot be had any more."""

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import anyio

from flowport.accounts import OpenAccount
from flowport.backoff import Backoff
from flowport.clock import Clock
from flowport.errors import LedgerError, ProviderError, RunNotFound
from flowport.ledger.interface import Ledger
from flowport.model import Run
from flowport.runner.renewing import LinkRenewer
from flowport.runner.saving import OutputSaver, Saved

logger = logging.getLogger(__name__)

FAILED_DOWNLOAD: Final = Backoff(300.0, 1.0, steps=(1.0, 3.0, 10.0, 30.0, 60.0))
"""A network that was gone for a moment must not cost minutes. Links live for hours, so it goes on as long as they may work."""

MAX_UNFIT: Final = 5
"""How often nothing, or something of the wrong kind, may come from a link that works before the output is given up."""


@dataclass(slots=True)
class Effort:
    """What is being done to save one run's outputs. Mutable: every attempt changes it."""

    run: Run
    account: OpenAccount
    missing: frozenset[int]
    """The outputs that are worth another attempt."""
    is_renewed: bool = False
    """Whether the run was read again for fresh links; that is done once."""
    unfit: Counter[int] = field(default_factory=Counter)
    """How often what came for an output was nothing, or of the wrong kind."""

    async def save(self, saver: OutputSaver, only: frozenset[int]) -> Saved:
        """Try to save these outputs, and drop those of them that are not worth another attempt."""
        saved = await saver.save_all(self.run, self.account, only=only)
        self.unfit.update(saved.unfit)
        hopeless = {n for n in saved.unfit if self.unfit[n] >= MAX_UNFIT}
        self.run, self.missing = saved.run, (self.missing - only) | (saved.failed - hopeless)
        return saved


class OutputRetrier:
    """Saves outputs, again and again where that may help."""

    def __init__(self, ledger: Ledger, saver: OutputSaver, renewer: LinkRenewer, clock: Clock) -> None:
        self._ledger = ledger
        self._saver = saver
        self._renewer = renewer
        self._clock = clock
        self._retrying: dict[str, anyio.CancelScope | None] = {}
        """The runs that are tried again behind the answer: how to end the pause, None while an attempt is under way."""

    async def try_first(self, run: Run, account: OpenAccount) -> Effort:
        """Try each output that is not saved, with a fresh link where the old one has expired; `try_again` follows."""
        effort = Effort(run, account, self._saver.find_missing(run))
        await self._attempt(effort)
        return effort

    async def try_again(self, effort: Effort) -> None:
        """Try what is left, with growing pauses, until nothing is left to try or somebody begins anew."""
        run_id = effort.run.id
        failures = 1
        while effort.missing and (pause := FAILED_DOWNLOAD.get_pause(failures)) is not None:
            failures += 1
            with anyio.CancelScope() as scope:
                self._retrying[run_id] = scope
                await self._clock.sleep(pause)
            if scope.cancel_called:
                return
            self._retrying[run_id] = None
            try:
                await self._read_again(effort)
                await self._attempt(effort)
            finally:
                del self._retrying[run_id]

    def begin_anew(self, run_id: str) -> bool:
        """End the pause of a run that is tried again; False when it is being tried right now, and all is well."""
        scope = self._retrying.get(run_id)
        if scope is None:
            return run_id not in self._retrying
        del self._retrying[run_id]
        scope.cancel()
        return True

    async def _read_again(self, effort: Effort) -> None:
        """Take up what others have written since: a fresh link, or that the run was erased."""
        run = effort.run
        try:
            kept = await self._ledger.get_run(run.id, account_id=None, owner=run.owner)
        except RunNotFound:
            effort.missing = frozenset()
        except LedgerError as exc:
            logger.info("the outputs of run %s are tried again without the ledger: %s", run.id, exc)
        else:
            # Where the ledger could not take the end of the run, it lacks the outputs.
            if kept.state.is_final:
                effort.run = kept
                effort.missing &= self._saver.find_missing(kept)

    async def _attempt(self, effort: Effort) -> None:
        saved = await effort.save(self._saver, effort.missing)
        if saved.expired and not effort.is_renewed:
            await self._try_renewed(effort, saved.expired)
        elif effort.is_renewed:
            effort.missing -= self._find_dead(effort.run, saved.expired)

    async def _try_renewed(self, effort: Effort, expired: Collection[int]) -> None:
        try:
            renewed = await self._renewer.renew(effort.run, effort.account, expired)
        except ProviderError as exc:
            logger.info("run %s could not be read again for fresh links: %s", effort.run.id, exc)
            return
        effort.run = renewed.run
        # Where the provider gave the same links again they may work yet, and it is asked once more when they do not.
        effort.is_renewed = bool(renewed.fresh or renewed.gone)
        effort.missing -= renewed.gone
        if renewed.fresh:
            await effort.save(self._saver, renewed.fresh)

    def _find_dead(self, run: Run, expired: Collection[int]) -> frozenset[int]:
        """Return the outputs whose fresh links have expired as well: by their server and by our clock."""
        dead = (one for one in run.outputs if one.expires_at is None or self._renewer.has_expired(one))
        return frozenset(one.n for one in dead if one.n in expired)
