"""Verify the access tokens of an OAuth issuer with the keys that it publishes.

The keys are kept for some minutes. A token with an unknown key id has them fetched again, which no sender can cause often. While
the issuer cannot be reached, its last keys count for an hour; after that its tokens are answered with 503.
"""

import logging
from collections import deque
from typing import Final

import anyio

from flowport.domain.errors import ConfigurationError
from flowport.domain.principal import Principal
from flowport.network.issuer import SETTING, IssuerDocument, IssuerFailed, fetch_issuer
from flowport.runtime.clock import Clock
from flowport.settings.http_settings import HttpSettings
from flowport.web.auth import Refusal
from flowport.web.jwt_rules import (
    BAD_SIGNATURE,
    UNKNOWN_KEY,
    Expected,
    check_claims,
    find_keys,
    parse_header,
    read_claims,
)
from flowport.web.listen_address import Address, build_authorities
from flowport.web.resource_metadata import PATH

logger = logging.getLogger(__name__)

FRESH_SECONDS: Final = 300.0
"""How long keys count without being fetched again."""
STALE_SECONDS: Final = 3600.0
"""How long keys count while the issuer cannot be reached."""
RETRY_SECONDS: Final = 5
"""How long after a failed fetch the issuer is left alone."""
MAX_FORCED: Final = 3
"""The most fetches in a minute that tokens with unknown keys cause."""
_MINUTE: Final = 60.0

UNREACHABLE: Final = Refusal(
    503,
    "The issuer of access tokens cannot be reached now. Try again; tokens that this server made go on working.",
    retry_after_seconds=RETRY_SECONDS,
)


def build_verifier(settings: HttpSettings, address: Address, clock: Clock) -> "OAuthVerifier":
    """Return what verifies the tokens of the issuer that the settings name.

    Raises:
        ConfigurationError: It is not known for which address a token has to be issued.
    """
    if settings.oauth_audience:
        audiences = {settings.oauth_audience}
    elif settings.public_url:
        audiences = {f"{settings.public_url}{PATH}"}
    elif address.is_loopback:
        audiences = {f"http://{authority}{PATH}" for authority in build_authorities(address)}
    else:
        # Never the host that a request names: a token for another server would count here.
        problem = "needs the address for which its tokens are issued"
        raise ConfigurationError(SETTING, problem, "Set FLOWPORT_PUBLIC_URL or FLOWPORT_OAUTH_AUDIENCE.")
    return OAuthVerifier(settings.oauth_issuer, frozenset(audiences), settings.oauth_scopes, clock)


class OAuthVerifier:
    """Verifies the tokens of one issuer."""

    def __init__(self, issuer: str, audiences: frozenset[str], scopes: tuple[str, ...], clock: Clock) -> None:
        """Prepare; nothing is fetched before the first token.

        Args:
            issuer: As the setting spells it.
            audiences: Which names of this server a token may be for.
        """
        self.scopes = scopes
        self._issuer = issuer
        self._audiences = frozenset(one.removesuffix("/") for one in audiences)
        self._clock = clock
        self._document: IssuerDocument | None = None
        self._fetched_at = self._failed_at = float("-inf")
        self._forced_at = deque[float](maxlen=MAX_FORCED)
        self._fetching = anyio.Lock()

    async def find_issuer(self) -> str:
        """Return the issuer as it spells itself; as the setting does while it cannot be reached."""
        document = await self._get_document()
        return self._issuer if document is None else document.issuer

    async def verify(self, token: str) -> Principal | Refusal:
        """Return whom a token stands for, or why it is refused."""
        header = parse_header(token)
        if isinstance(header, Refusal):
            return header
        document = await self._get_document()
        if document is None:
            return UNREACHABLE
        keys = find_keys(document.keys, header)
        claims = read_claims(token, keys, header) if keys else UNKNOWN_KEY
        # Without a key id a new key looks like a wrong signature.
        if claims is UNKNOWN_KEY or (claims is BAD_SIGNATURE and header.key_id is None):
            newer = await self._get_newer(document)
            if newer is None:
                return UNREACHABLE
            if newer is not document:
                document = newer
                keys = find_keys(document.keys, header)
                claims = read_claims(token, keys, header) if keys else UNKNOWN_KEY
        if isinstance(claims, Refusal):
            return claims
        expected = Expected(document.issuer, self._audiences, self.scopes)
        return check_claims(claims, expected, self._clock.now())

    async def _get_document(self) -> IssuerDocument | None:
        """Return what the issuer publishes, from memory while it is fresh; None while it cannot be reached."""
        if self._get_age() < FRESH_SECONDS:
            return self._document
        async with self._fetching:
            if self._get_age() >= FRESH_SECONDS and not self._has_just_failed():
                await self._fetch()
        return self._document if self._get_age() < STALE_SECONDS else None

    async def _get_newer(self, known: IssuerDocument) -> IssuerDocument | None:
        """Return what the issuer publishes now, or what is known when it was asked often; None if it cannot be reached."""
        async with self._fetching:
            if self._document is not known:
                return self._document
            if self._has_just_failed():
                return None
            now = self._clock.monotonic()
            if len(self._forced_at) == MAX_FORCED and now - self._forced_at[0] < _MINUTE:
                return known
            self._forced_at.append(now)
            return self._document if await self._fetch() else None

    async def _fetch(self) -> bool:
        try:
            self._document = await fetch_issuer(self._issuer)
        except IssuerFailed as exc:
            logger.warning("%s", exc)
            self._failed_at = self._clock.monotonic()
            return False
        self._fetched_at, self._failed_at = self._clock.monotonic(), float("-inf")
        return True

    def _get_age(self) -> float:
        return self._clock.monotonic() - self._fetched_at

    def _has_just_failed(self) -> bool:
        return self._clock.monotonic() - self._failed_at < RETRY_SECONDS
