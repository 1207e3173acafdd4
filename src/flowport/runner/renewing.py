"""Read a finished run again for fresh links, when those of its outputs have expired."""

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakValueDictionary

import anyio

from flowport.accounts import OpenAccount
from flowport.clock import Clock
from flowport.errors import LedgerError, ProviderError, RunNotFound
from flowport.ledger.interface import Ledger
from flowport.model import Output, Run
from flowport.runner.looking import fetch_look, is_unknown_there

logger = logging.getLogger(__name__)


WAIT_SECONDS: Final = 10.0
"""How long somebody who asked for a run waits for fresh links before its old ones are shown."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """What reading a run again has brought for the outputs that were asked about."""

    run: Run
    fresh: frozenset[int]
    """The outputs that have another link now."""
    gone: frozenset[int]
    """The outputs for which the provider has none."""


class LinkRenewer:
    """Fetches fresh links and writes them into the ledger."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    def has_expired(self, output: Output) -> bool:
        """Tell whether the link's time is over, by our clock; its server may think otherwise."""
        return bool(output.url) and output.expires_at is not None and output.expires_at <= self._clock.now()

    async def renew_expired(self, run: Run, account: OpenAccount) -> None:
        """Renew, on behalf of somebody who waits, the links whose files are not saved; for a while, and as far as it goes."""
        expired = {output.n for output in run.outputs if not output.saved_path and self.has_expired(output)}
        if expired:
            with anyio.move_on_after(WAIT_SECONDS):
                try:
                    await self.renew(run, account, expired)
                except ProviderError as exc:
                    logger.info("run %s could not be read again for fresh links: %s", run.id, exc)

    async def renew(self, run: Run, account: OpenAccount, numbers: Collection[int]) -> Renewed:
        """Return the run with fresh links for these outputs, reading it once for all who ask at the same time.

        Raises:
            ProviderError: The provider cannot say just now, so nothing is known to be gone.
        """
        lock = self._locks.setdefault(run.id, anyio.Lock())
        async with lock:
            kept = await self._get_kept(run)
            if fresh := _find_changed(run, kept, numbers):
                # Somebody read it again while we waited for our turn.
                return Renewed(kept, fresh, frozenset())
            given = await self._fetch_outputs(run, account)
            changed = {
                output.n: self._compare(output, _find_same(output, given), account)
                for output in kept.outputs
                if output.n in numbers
            }
            renewed = replace(kept, outputs=tuple(changed.get(output.n, output) for output in kept.outputs))
            for output in set(renewed.outputs) - set(kept.outputs):
                await self._note(run, output)
        fresh = _find_changed(run, renewed, numbers)
        gone = {output.n for output in changed.values() if output.n not in fresh and self._is_gone(output)}
        return Renewed(renewed, fresh, frozenset(gone))

    async def _get_kept(self, run: Run) -> Run:
        try:
            return await self._ledger.get_run(run.id, account_id=None, owner=run.owner)
        except (LedgerError, RunNotFound) as exc:
            logger.warning("run %s is read again without the ledger: %s", run.id, exc)
            return run

    async def _fetch_outputs(self, run: Run, account: OpenAccount) -> tuple[Output, ...]:
        try:
            return (await fetch_look(run, account, self._clock)).outputs
        except ProviderError as exc:
            if is_unknown_there(exc):
                return ()
            raise

    def _compare(self, output: Output, given: Output | None, account: OpenAccount) -> Output:
        """Return the output with its fresh link, or saying that there is none; unchanged while its own may still work."""
        if given is not None and given.url != output.url:
            return replace(output, url=given.url, expires_at=given.expires_at, save_problem="")
        if given is not None and not self._is_gone(output):
            return output
        problem = "" if output.saved_path else format_gone(account.provider.title)
        # Without an instant of its own it would be tried again at every start.
        return replace(output, save_problem=problem, expires_at=output.expires_at or self._clock.now())

    def _is_gone(self, output: Output) -> bool:
        return output.expires_at is None or self.has_expired(output)

    async def _note(self, run: Run, output: Output) -> None:
        try:
            await self._ledger.note_output(run.id, output)
        except (LedgerError, RunNotFound) as exc:
            logger.warning("the link of output %d of run %s could not be written down: %s", output.n, run.id, exc)


def format_gone(title: str) -> str:
    """Return the sentence for an output that can no longer be had."""
    return f"It is gone: its link has expired, and {title} gives no fresh one."


def _find_same(output: Output, given: Iterable[Output]) -> Output | None:
    """Return the provider's present word of an output: by its id, where it has one, else by its place."""
    if output.provider_output_id:
        return next((one for one in given if one.provider_output_id == output.provider_output_id), None)
    return next((one for one in given if one.n == output.n and one.kind is output.kind), None)


def _find_changed(before: Run, after: Run, numbers: Collection[int]) -> frozenset[int]:
    urls = {output.n: output.url for output in before.outputs}
    return frozenset(one.n for one in after.outputs if one.n in numbers and one.url != urls.get(one.n))
