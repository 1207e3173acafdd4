"""Settle starts whose reply was lost, by what proves that they arrived.

A webhook comes to an address that only the start request held, so an event on it proves that this request arrived, and names
the provider's run. The id is then read: only a run that the provider knows is taken, and none that another of our runs is.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from flowport.domain.errors import ProviderError, StoreError
from flowport.domain.models import Run, RunState
from flowport.domain.run_events import StartConfirmed, Witness
from flowport.network.account import OpenAccount
from flowport.providers.interface import WebhookTarget
from flowport.runs.poll import fetch_status
from flowport.runtime.clock import Clock
from flowport.store.interface import Store

logger = logging.getLogger(__name__)

BuildWebhookUrl: TypeAlias = Callable[[Run], str | None]
"""Returns the address to which the provider reports changes of a run; None for none."""

RUN_KEY: Final = "flowport_run_id"
"""Of our run, in what the provider repeats in each event."""


async def confirm_start(
    run: Run,
    provider_run_id: str,
    witness: Witness = Witness.WEBHOOK,
    *,
    account: OpenAccount,
    store: Store,
    clock: Clock,
    process_id: str = "",
) -> Run | None:
    """Record that the provider has a run whose outcome is unknown, and return it; None when that is not certain.

    Args:
        process_id: The process that is to follow it, if it was unknown.

    Raises:
        StoreError: It could not be recorded.
    """
    owner = await store.find_run_at_provider(provider_run_id, account_id=run.account_id)
    if owner is not None and owner.id != run.id:
        logger.warning("the %s names the run of %s at the provider for run %s: ignored", witness, owner.id, run.id)
        return None
    try:
        status = await fetch_status(replace(run, provider_run_id=provider_run_id), account, clock)
    except ProviderError as exc:
        logger.info("whether run %s was started could not be read: %s", run.id, exc)
        return None
    # An end is recorded by the poll that follows, with its outputs.
    state = status.state if status.state.is_at_provider else RunState.RUNNING
    event = StartConfirmed(provider_run_id, state, clock.now(), witness, process_id)
    after = (await store.record(run.id, event)).run
    return after if after is not None and after.provider_run_id == provider_run_id else None


class StartWitness:
    """Builds the addresses of webhooks, and keeps what events say of runs whose start reply is not recorded yet."""

    def __init__(
        self,
        accounts: Mapping[str, OpenAccount],
        store: Store,
        clock: Clock,
        build_webhook_url: BuildWebhookUrl | None = None,
        process_id: str = "",
        *,
        queued_account_ids: Collection[str] = (),
    ) -> None:
        """Keep the parts; without `build_webhook_url` no webhook is asked for.

        The process follows what it settles, but for the runs of queued accounts, which any worker follows.
        """
        self._queued_ids = queued_account_ids
        self.accounts = accounts
        self.store = store
        self.clock = clock
        self._build_webhook_url = build_webhook_url
        self._process_id = process_id
        self._early: dict[str, str] = {}
        """The provider's id by our run, while an event of a start without an outcome waits."""

    def build_target(self, run: Run, account: OpenAccount) -> WebhookTarget | None:
        """Return where the provider reports changes of a run; None when it cannot, or has no way to reach us."""
        if self._build_webhook_url is None or account.is_sandbox or account.provider.capabilities.webhooks is None:
            return None
        url = self._build_webhook_url(run)
        return None if url is None else WebhookTarget(url, {RUN_KEY: run.id})

    def is_reported(self, run: Run, account: OpenAccount) -> bool:
        """Return whether the provider was asked to report a run, if it was started with the settings of this process."""
        return self.build_target(run, account) is not None

    def note_early(self, run_id: str, provider_run_id: str) -> None:
        """Remember the provider's id of a run whose start reply is not recorded."""
        self._early[run_id] = provider_run_id

    def forget_early(self, run_id: str) -> None:
        """Forget it, once the outcome of the start is known."""
        self._early.pop(run_id, None)

    async def settle(self, run: Run) -> Run:
        """Return an unknown run as it stands after what was remembered of it; unchanged when nothing was."""
        provider_run_id, account = self._early.get(run.id), self.accounts.get(run.account_id)
        if provider_run_id is None or account is None:
            return run
        return await self.confirm(run, provider_run_id) or run

    async def confirm(self, run: Run, provider_run_id: str, witness: Witness = Witness.WEBHOOK) -> Run | None:
        """Return an unknown run once it is certain that its start arrived; None while it is not."""
        account = self.accounts.get(run.account_id)
        if account is None:
            return None
        try:
            return await confirm_start(
                run,
                provider_run_id,
                witness,
                account=account,
                store=self.store,
                clock=self.clock,
                process_id="" if run.account_id in self._queued_ids else self._process_id,
            )
        except StoreError as exc:
            logger.warning("that run %s was started could not be recorded: %s", run.id, exc)
            return None
