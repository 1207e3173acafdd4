"""One request that looks at several runs of an account, where its provider has it and each request counts."""

import logging
from collections.abc import Mapping, Sequence
from math import inf
from typing import Final

from flowport.accounts import OpenAccount
from flowport.clock import Clock
from flowport.errors import ProviderBroken, ProviderError, ProviderRefused, ProviderRejected
from flowport.providers.interface import RunLook

logger = logging.getLogger(__name__)

REFUSED_SECONDS: Final = 86_400.0
"""For so long runs are read one by one where the provider does not do it at all, or not as we understand it."""

FAILED_SECONDS: Final = 300.0
"""For so long where it may have been the network, or an hour of its own."""


class ManyReader:
    """Looks at several runs at once, as long as that goes well. What it does not tell is to be read by itself."""

    def __init__(self, account: OpenAccount, clock: Clock) -> None:
        self._account = account
        self._clock = clock
        self._closed_until = -inf

    def get_most(self) -> int:
        """Return how many runs one request may look at now; 1 where each is to be read by itself."""
        ability = self._account.provider.many_looks
        is_closed = not self._account.budget.is_limited or self._clock.monotonic() < self._closed_until
        return 1 if ability is None or is_closed else ability.most

    async def fetch(self, provider_run_ids: Sequence[str]) -> Mapping[str, RunLook]:
        """Return how the runs are doing, as far as it is told; the request was taken from the budget.

        Nothing is told when it goes wrong, and then nobody tries again for a while.
        """
        ability = self._account.provider.many_looks
        if ability is None:
            return {}
        try:
            answer = await self._account.send_now(ability.build_request(provider_run_ids))
            return ability.parse(answer, provider_run_ids, now=self._clock.now())
        except ProviderError as exc:
            seconds = REFUSED_SECONDS if _is_refusal(exc) else FAILED_SECONDS
            self._closed_until = self._clock.monotonic() + seconds
            logger.info("runs are read one by one for %d minutes: %s", seconds / 60, exc)
            return {}


def _is_refusal(error: ProviderError) -> bool:
    """Tell whether asking again would bring the same; what breaks off or fails over there may go well the next time."""
    is_unread = isinstance(error, ProviderBroken) and error.status < 500  # noqa: PLR2004
    return is_unread or isinstance(error, ProviderRefused | ProviderRejected)
