"""Read the status of several runs with one request, where the provider supports that."""

import logging
from collections.abc import Mapping, Sequence
from math import inf
from typing import Final

from flowport.domain.errors import ProviderBroken, ProviderError, ProviderRefused, ProviderRejected
from flowport.network.account import OpenAccount
from flowport.providers.interface import RunStatus
from flowport.runtime.clock import Clock

logger = logging.getLogger(__name__)

REFUSED_SECONDS: Final = 86_400.0
"""How long bulk status is not used after the provider refused it, or answered in a form that we do not understand."""

FAILED_SECONDS: Final = 300.0
"""How long after a failure that may pass, of the network or of the provider."""


class BulkStatusReader:
    """Fetches the status of several runs with one request while the provider supports that."""

    def __init__(self, account: OpenAccount, clock: Clock) -> None:
        self._account = account
        self._clock = clock
        self._closed_until = -inf

    def get_most(self) -> int:
        """Return how many runs one request may name now; 1 when each run needs its own request."""
        bulk_status = self._account.provider.capabilities.bulk_status
        is_closed = not self._account.limiter.is_limited or self._clock.monotonic() < self._closed_until
        return 1 if bulk_status is None or is_closed else bulk_status.most

    async def fetch(self, provider_run_ids: Sequence[str]) -> Mapping[str, RunStatus]:
        """Return the status of those runs that the response names; the rate limiter has granted the request.

        A failure returns nothing and disables bulk status for a while.
        """
        bulk_status = self._account.provider.capabilities.bulk_status
        if bulk_status is None:
            return {}
        try:
            answer = await self._account.send_now(bulk_status.build_request(provider_run_ids))
            return bulk_status.parse(answer, provider_run_ids, now=self._clock.now())
        except ProviderError as exc:
            is_unread = isinstance(exc, ProviderBroken) and exc.status < 500  # noqa: PLR2004
            is_lasting = is_unread or isinstance(exc, ProviderRefused | ProviderRejected)
            self.close(REFUSED_SECONDS if is_lasting else FAILED_SECONDS, exc)
            return {}

    def close(self, seconds: float, cause: object) -> None:
        """Read runs one by one for a while."""
        self._closed_until = self._clock.monotonic() + seconds
        logger.info("runs are read one by one for %d minutes: %s", seconds / 60, cause)
