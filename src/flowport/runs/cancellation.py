"""Cancel runs at their provider, and say what a cancellation came to."""

import logging
from enum import Enum

from flowport.domain.errors import ProviderError, StoreError
from flowport.domain.models import Run
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.store.interface import Store

logger = logging.getLogger(__name__)


class CancelOutcome(Enum):
    """The result of a request to cancel a run."""

    CANCELLED = "cancelled"
    """Nothing had been sent to the provider; nothing is charged."""
    ASKED = "asked"
    """The provider accepted the request; the next poll shows how the run ended."""
    CANNOT = "cannot"
    """The provider cannot cancel; the run goes on."""
    UNFOLLOWED = "unfollowed"
    """The provider cannot cancel; the run is no longer polled."""
    ALREADY_OVER = "already over"
    UNKNOWN = "unknown"
    """It is not known whether the provider has the run, and it has no id by which it could be cancelled."""


async def ask_to_cancel(run: Run, account: OpenAccount) -> bool:
    """Ask the provider to cancel; False when it cannot, or has not named the run yet. The next poll shows the end and the cost.

    Raises:
        ProviderError: It can, and did not, or it is not known whether it did.
    """
    cancel = account.provider.capabilities.cancel
    if cancel is None or not run.provider_run_id:
        return False
    await account.converse(cancel(run.provider_run_id), Priority.START)
    return True


async def cancel_unwanted(run: Run, account: OpenAccount, store: Store) -> None:
    """Have a run cancelled whose caller has gone and wanted it stopped, unless another call waits for it."""
    try:
        if not await store.is_waited_for(run.id) and await ask_to_cancel(run, account):
            logger.info("%s was asked to cancel run %s, whose caller has gone", account.provider.title, run.id)
    except (StoreError, ProviderError) as exc:
        logger.warning("run %s, whose caller has gone, was not cancelled: %s", run.id, exc)
