"""What the HTTP status of an answer means: refusals, and proof that no run was started. Pure."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from flowport.domain.errors import (
    InputFlaw,
    Operation,
    ProviderBroken,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
)
from flowport.providers.rate_limit_headers import parse_retry_after

NOT_TAKEN_STATUSES = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
"""Answers to a start request that prove that no run was started. So does every 3xx."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The parts of an answer that a refusal is made of."""

    provider: str
    operation: Operation
    detail: str = ""
    """The provider's words, cleaned."""
    headers: Mapping[str, str] = field(default_factory=dict)
    flaws: tuple[InputFlaw, ...] = ()
    """What they say of single inputs."""
    opening: str = ""
    """What they say of the whole, where there are flaws."""


def build_refusal(status: int, refusal: Refusal) -> ProviderError:
    """Return the error for an HTTP status that is not a success."""
    provider, operation, detail = refusal.provider, refusal.operation, refusal.detail
    if status in {401, 402, 403}:
        return ProviderRefused(provider, operation, status, detail)
    if status in {429, 503}:
        return ProviderBusy(provider, operation, status, parse_retry_after(refusal.headers))
    if 400 <= status < 500:  # noqa: PLR2004
        return ProviderRejected(
            provider, operation, status, detail, flaws=refusal.flaws, opening=refusal.opening if refusal.flaws else ""
        )
    if 300 <= status < 400:  # noqa: PLR2004
        return ProviderBroken(provider, operation, status, f"it answered with a redirect (HTTP {status})")
    return ProviderBroken(provider, operation, status, f"it answered HTTP {status}")


def is_not_taken(status: int) -> bool:
    """Tell whether this status, answered to a start request, proves that no run was started."""
    return status in NOT_TAKEN_STATUSES or 300 <= status < 400  # noqa: PLR2004


def build_inline_media(data: bytes) -> str:
    """Return a file as the base64 text that goes into a request."""
    return base64.b64encode(data).decode("ascii")
