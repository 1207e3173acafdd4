"""Prepare the call of a run again from its record, for the process that starts it: exactly, or not at all."""

import itertools
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from flowport.catalog.refresher import Catalog
from flowport.domain.backoff import Backoff
from flowport.domain.call_errors import AppNotFound
from flowport.domain.errors import (
    AppUnsupported,
    ArgumentsInvalid,
    DayUsedUp,
    ProviderError,
    ProviderRefused,
    StoreError,
)
from flowport.domain.models import LOCAL_OWNER, InputKind, JsonValue, Run
from flowport.network.account import OpenAccount
from flowport.runs.prepare import CallPreparer, PreparedCall
from flowport.runs.submit import RunRequest
from flowport.runtime.clock import Clock
from flowport.store.interface import Store

logger = logging.getLogger(__name__)

CATALOGUE_SECONDS: Final = 60.0
"""How long a restored call waits for a first catalogue. A home without one is as good as new."""

FAILED_RESTORE: Final = Backoff(300.0, 1.0, tries=5, steps=(5.0, 20.0, 60.0))
"""Between attempts to read the app's definition; a call waits for the run, and nothing is charged without it."""

FAILED_RESTORE_OF_ROW: Final = replace(FAILED_RESTORE, tries=None)
"""The same for a row of a batch, which no call waits for."""


class CallRebuilder:
    """Restores calls exactly, or not at all."""

    def __init__(
        self, preparer: CallPreparer, catalogs: Mapping[str, Catalog], clock: Clock, store: Store | None = None
    ) -> None:
        """Take the catalogues by account id; the store knows whole arguments, and is None where none are kept."""
        self._store = store
        self._preparer = preparer
        self._catalogs = catalogs
        self._clock = clock

    async def restore(self, run: Run, account: OpenAccount) -> PreparedCall | None:
        """Return the call that the run was accepted for; None when it cannot be restored exactly.

        The record shortens long texts and leaves out inlined files, files may have changed, and so may the app: only the
        same digest proves that the person gets what was asked for. Nor is another price paid than the caller was given.
        A row of a batch is retried without a limit.

        Raises:
            DayUsedUp, ProviderRefused: Waiting does not help.
            FlowportError: What has to be read for it could not be, for so long.
        """
        backoff = FAILED_RESTORE_OF_ROW if run.batch_id else FAILED_RESTORE
        for failures in itertools.count(1):
            try:
                return await self._prepare(run, account) or await self._prepare_with_news(run, account)
            except (DayUsedUp, ProviderRefused):
                raise
            except (ProviderError, StoreError, AppNotFound) as exc:
                pause = backoff.get_pause(failures)
                if pause is None:
                    raise
                logger.info("what run %s is made of cannot be read just now: %s", run.id, exc)
            await self._clock.sleep(pause)
        raise AssertionError("counting has no end")

    def find_free_arguments(self, run: Run) -> frozenset[str] | None:
        """Return the arguments that take values of all types; None when the app's definition is not at hand."""
        catalog = self._catalogs.get(run.account_id)
        try:
            listing = None if catalog is None else catalog.get_listing(run.tool_name)
        except AppNotFound:
            return None
        if listing is None or listing.app.inputs is None:
            return None
        names = listing.property_names
        return frozenset(
            names[item.id] for item in listing.app.inputs if item.kind is InputKind.ANY and item.id in names
        )

    async def _prepare_with_news(self, run: Run, account: OpenAccount) -> PreparedCall | None:
        """Prepare a call by the catalogue that another process has saved since: the run may have been accepted by it."""
        catalog = self._catalogs.get(run.account_id)
        if catalog is None:
            return None
        before = catalog.current
        await catalog.load_changed()
        return None if catalog.current is before else await self._prepare(run, account)

    async def _prepare(self, run: Run, account: OpenAccount) -> PreparedCall | None:
        catalog = self._catalogs.get(run.account_id)
        if catalog is None:
            return None
        if not catalog.is_ready:
            await catalog.wait_until_attempted(CATALOGUE_SECONDS)
        try:
            listing = await catalog.fetch_listing(run.tool_name)
            arguments = await self._get_arguments(run)
            request = RunRequest(run.owner, is_local=run.owner == LOCAL_OWNER)
            call = await self._preparer.prepare(account, listing, arguments, request)
        except (AppNotFound, AppUnsupported, ArgumentsInvalid) as exc:
            if isinstance(exc, AppNotFound) and catalog.current.listed_at is None:
                # Not gone: no list was ever read.
                raise
            logger.info("the call of run %s cannot be prepared again: %s", run.id, exc)
            return None
        # Where prices are estimates, each of which may differ, the run was accepted at one, and it is not paid here.
        is_estimated = account.provider.capabilities.price is not None
        is_same_price = is_estimated or call.app.price_credits == run.price_credits
        return call if call.canonical_digest == run.canonical_digest and is_same_price else None

    async def _get_arguments(self, run: Run) -> dict[str, JsonValue]:
        """Return what the run is made of: of a row or a queued run all of it, of another run what its record shows."""
        found = None if self._store is None else await self._store.get_whole_arguments(run.id)
        parts = [run.arguments_json] if found is None else found
        arguments: dict[str, JsonValue] = {}
        for part in parts:
            arguments |= json.loads(part)
        return arguments
