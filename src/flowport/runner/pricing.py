"""Ask a provider what a prepared call would cost, where it tells no price by itself."""

import logging
from dataclasses import replace
from typing import Final

import anyio

from flowport.accounts import OpenAccount
from flowport.budget import Priority
from flowport.errors import ProviderError
from flowport.runner.preparing import PreparedCall

logger = logging.getLogger(__name__)

PRICING_SECONDS: Final = 10.0
"""How long an estimate may take before the price counts as unknown: the person waits meanwhile."""


async def price_call(call: PreparedCall, account: OpenAccount) -> PreparedCall:
    """Return the call at the price of this moment; one whose estimate fails has a price that nobody knows.

    The price in the list may be a day old, and a workflow is changed in a minute.
    """
    estimate = account.provider.estimate_price(call.app)
    if estimate is None:
        return call
    price: float | None = None
    with anyio.move_on_after(PRICING_SECONDS):
        try:
            price = await account.converse(estimate, Priority.START)
        except ProviderError as exc:
            logger.info("the price of %s could not be estimated: %s", call.tool_name, exc)
    return replace(call, app=replace(call.app, price_credits=price))
