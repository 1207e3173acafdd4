"""Have a provider cancel a run that it has taken. The next poll shows how the run ended and what it cost."""

import logging
from enum import Enum

from flowport.domain.errors import ProviderError, StoreError
from flowport.domain.models import Run
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.store.interface import Store

logger = logging.getLogger(__name__)


class CancelOutcome(Enum):
    """What came of a request to cancel a run."""

    CANCELLED = "cancelled"
    """Nothing had been sent to the provider; nothing is charged."""
    ASKED = "asked"
    """The provider has taken the request; the next poll shows how the run ended."""
    CANNOT = "cannot"
    """The provider cannot cancel; the run goes on."""
    UNFOLLOWED = "unfollowed"
    """The provider cannot cancel; we no longer look at the run."""
    ALREADY_OVER = "already over"
    UNKNOWN = "unknown"
    """It is not known whether the provider has the run, and it has no name by which it could be cancelled."""


async def ask_to_cancel(run: Run, account: OpenAccount) -> bool:
    """Ask the provider to cancel; False when it cannot, or has not named the run yet.

    Raises:
        ProviderError: It can, and did not, or it is not known whether it did.
    """
    cancel = account.provider.capabilities.cancel
    if cancel is None or not run.provider_run_id:
        return False
    await account.converse(cancel(run.provider_run_id), Priority.START)
    return True


async def cancel_row(run: Run, account: OpenAccount) -> None:
    """Have the run of a batch's row cancelled as far as that is possible; a failure is only logged."""
    try:
        await ask_to_cancel(run, account)
    except ProviderError as exc:
        logger.warning("run %s of %s was not cancelled: %s", run.id, run.batch_id, exc)


async def cancel_unwanted(run: Run, account: OpenAccount, store: Store) -> None:
    """Have a run cancelled whose caller has gone and wanted it stopped, unless another call waits for it."""
    try:
        if not await store.is_waited_for(run.id) and await ask_to_cancel(run, account):
            logger.info("%s was asked to cancel run %s, whose caller has gone", account.provider.title, run.id)
    except (StoreError, ProviderError) as exc:
        logger.warning("run %s, whose caller has gone, was not cancelled: %s", run.id, exc)
