"""Forgetting runs that are over and seen, once they are old."""

import logging
from typing import Final

from flowport.clock import Clock
from flowport.errors import LedgerError
from flowport.ledger.interface import Ledger

logger = logging.getLogger(__name__)

DAY_SECONDS: Final = 24 * 3600.0
"""Between two prunings; and what counts as spent within a day is never forgotten, however short runs are to be kept."""


async def keep_pruned(ledger: Ledger, clock: Clock, *, keep_days: int) -> None:
    """Prune now and every day; returns only when runs are to be kept for ever.

    Every process of a home does it: what another has pruned costs nothing to look for.
    """
    while keep_days:
        before = clock.now() - keep_days * DAY_SECONDS
        try:
            pruned = await ledger.prune(before=before)
        except LedgerError as exc:
            logger.warning("old runs were not pruned, which is tried again tomorrow: %s", exc)
        else:
            if pruned:
                logger.info("%d old runs were pruned", pruned)
        await clock.sleep(DAY_SECONDS)
