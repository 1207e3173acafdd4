"""Authenticate the requests of a server: every request brings a token in its Authorization header, or is refused.

A token is one of ours (its hash is in the store) or an access token of an OAuth issuer (`web/oauth.py`). Revocation and
expiry are checked at every request; `web/confirmed_tokens.py` says what counts while the store cannot be read. Neither a
token nor a person's own provider key reaches a log, an answer or a handler.
"""

import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken as LibraryToken
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowport.domain.access_tokens import AccessToken, TokenState, hash_token, is_token
from flowport.domain.errors import ConfigurationError, FlowportError, StoreError
from flowport.domain.models import LOCAL_OWNER
from flowport.domain.principal import LOCAL, Principal
from flowport.server.clients import PRINCIPAL_KEY
from flowport.settings.settings import Settings
from flowport.store.interface import TokenStore
from flowport.web.confirmed_tokens import ConfirmedTokens
from flowport.web.listen_address import FLAG, Address, is_private
from flowport.web.local_token import NAME, load_local_token
from flowport.web.own_keys import OwnKeysRefused, drop_headers, parse_own_keys, resolve_accounts
from flowport.web.resource_metadata import build_metadata_url

if TYPE_CHECKING:
    from flowport.web.site import Site

logger = logging.getLogger(__name__)

GetNow: TypeAlias = Callable[[], float]

MAX_TOKEN_LENGTH: Final = 16_384
"""Characters of an access token; those of large companies have some thousand."""

_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
_DRAIN_SECONDS: Final = 2.0
_MAX_DRAINED_BYTES: Final = 1024 * 1024
"""Of a refused request's body: a client that still writes does not read its answer."""

RECHECK_SECONDS: Final = 30.0
"""How long a stream of changes may go on before its token is judged again."""

_REFUSED: Final = frozenset({401, 403})
_METHOD_HEADER: Final = "mcp-method"
_LISTEN: Final = "subscriptions/listen"

_LOCAL_ID_DIGITS: Final = 8
"""Of its hash, which reveals nothing of the token."""

INVALID: Final = "invalid_token"
"""The code of RFC 6750 for a token that does not count."""
OWNER_PREFIX: Final = "oauth|"
"""What the owner of every token of the issuer begins with, so that none is an owner of our own tokens."""
_MAKE: Final = "`flowport token add NAME`"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served."""

    status: int
    sentence: str
    """ASCII without quotation marks and backslashes, because a header repeats it; never holds a token."""
    error: str = ""
    """The code of RFC 6750; empty when the request brought no token."""
    scopes: tuple[str, ...] = ()
    """What a token needs."""
    retry_after_seconds: int | None = None


NO_TOKEN: Final = Refusal(401, "Send an access token in the Authorization header, as Bearer TOKEN.")
UNKNOWN_TOKEN: Final = Refusal(401, "This server does not know the access token.", INVALID)
_STATES: Final[Mapping[TokenState, Refusal]] = {
    TokenState.EXPIRED: Refusal(401, "The access token has expired. Ask for a new one.", INVALID),
    TokenState.REVOKED: Refusal(401, "The access token was revoked. Ask for a new one.", INVALID),
}
_SEVERAL: Final = Refusal(400, "The request has several Authorization headers. Send one.", "invalid_request")
_STORE_FAILED: Final = Refusal(503, "The tokens on record cannot be read now. Try again.", retry_after_seconds=5)


def parse_bearer(headers: Sequence[tuple[bytes, bytes]]) -> str | Refusal:
    """Return the token in the headers of a request. Pure."""
    values = [value.decode("latin-1") for name, value in headers if name.lower() == b"authorization"]
    if not values:
        return NO_TOKEN
    if len(values) > 1:
        return _SEVERAL
    if not values[0].lower().startswith("bearer"):
        return NO_TOKEN
    found = _BEARER.fullmatch(values[0])
    return found[1] if found is not None and len(found[1]) <= MAX_TOKEN_LENGTH else UNKNOWN_TOKEN


class Verifier(Protocol):
    """Verifies the access tokens of an issuer."""

    scopes: tuple[str, ...]
    """What every token has to hold."""

    async def verify(self, token: str, /) -> Principal | Refusal:
        """Return whom a token stands for, or why it is refused."""

    async def find_issuer(self) -> str:
        """Return the issuer as it spells itself."""


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Finds out who sends a request."""

    tokens: TokenStore
    get_now: GetNow
    is_on: bool = True
    """False with `--no-auth`: everyone who reaches the server is the person at this computer."""
    is_private: bool = False
    """Whether only programs on this computer reach the server, so that its paths are the caller's own."""
    local_hash: str = ""
    """Of the token in FLOWPORT_HOME; empty without one."""
    verifier: Verifier | None = None
    confirmed: ConfirmedTokens = field(default_factory=ConfirmedTokens)

    @property
    def _local_id(self) -> str:
        """The id of the token in FLOWPORT_HOME, which one that replaces it does not have."""
        return f"{NAME}-{self.local_hash[:_LOCAL_ID_DIGITS]}"

    async def authenticate(self, headers: Sequence[tuple[bytes, bytes]]) -> Principal | Refusal:
        """Return who sends a request with these headers, or why it is refused."""
        if not self.is_on:
            return LOCAL
        token = parse_bearer(headers)
        return token if isinstance(token, Refusal) else await self.identify(token)

    async def identify(self, token: str) -> Principal | Refusal:
        """Return whom a token stands for, or why it is refused."""
        if not is_token(token):
            return UNKNOWN_TOKEN if self.verifier is None else await self.verifier.verify(token)
        digest = hash_token(token)
        if self.local_hash and hmac.compare_digest(digest, self.local_hash):
            return replace(LOCAL, token_id=self._local_id)
        try:
            found = await self.confirmed.find(digest, self.tokens.get_token)
        except StoreError as exc:
            logger.warning("a token cannot be looked up: %s", exc)
            return _STORE_FAILED
        return UNKNOWN_TOKEN if found is None else self._judge(found)

    async def identify_again(self, owner: str, token_id: str) -> Principal | Refusal:
        """Return who signed in before, with the rights of now, or why that person may not go on.

        Args:
            token_id: Of the token that was used then; empty for a token of the issuer.
        """
        if not self.is_on:
            return LOCAL
        if not token_id:
            is_vouched = self.verifier is not None and owner.startswith(OWNER_PREFIX)
            return Principal(owner) if is_vouched else UNKNOWN_TOKEN
        if self.local_hash and token_id == self._local_id:
            return replace(LOCAL, token_id=token_id) if owner == LOCAL_OWNER else UNKNOWN_TOKEN
        try:
            tokens = await self.tokens.get_tokens()
        except StoreError as exc:
            logger.warning("a token cannot be looked up: %s", exc)
            return _STORE_FAILED
        found = next((one for one in tokens if one.id == token_id and one.owner == owner), None)
        return UNKNOWN_TOKEN if found is None else self._judge(found)

    def _judge(self, token: AccessToken) -> Principal | Refusal:
        now = self.get_now()
        is_local = self.is_private and token.owner == LOCAL_OWNER
        principal = token.find_principal(now, is_local=is_local)
        return principal or _STATES.get(token.get_state(now), UNKNOWN_TOKEN)


async def open_authenticator(
    settings: Settings,
    tokens: TokenStore,
    address: Address,
    get_now: GetNow,
    *,
    has_auth: bool,
    verifier: Verifier | None = None,
) -> Authenticator:
    """Return what authenticates the requests of a server; one for this computer alone gets a token.

    Args:
        has_auth: False with `--no-auth`.

    Raises:
        ConfigurationError: Other computers could use the server, and nothing could prove who sends a request.
        StoreError: The same may be so, because the tokens on record cannot be read.
    """
    is_own = is_private(address, settings.http.public_url)
    made = Authenticator(tokens, get_now, is_on=has_auth, is_private=is_own, verifier=verifier)
    if not has_auth:
        return made
    has_other = verifier is not None or await _has_token(tokens, get_now(), is_needed=not is_own)
    # One that was made before works beside other tokens, until its file is deleted.
    if is_own and (not has_other or (settings.home / NAME).exists()):
        return replace(made, local_hash=hash_token(load_local_token(settings.home)))
    if has_other:
        return made
    setting = "FLOWPORT_PUBLIC_URL" if settings.http.public_url else FLAG
    problem = "needs authentication, and no valid token is on record"
    raise ConfigurationError(setting, problem, f"Make one with {_MAKE}, or set FLOWPORT_OAUTH_ISSUER.")


async def _has_token(tokens: TokenStore, now: float, *, is_needed: bool) -> bool:
    """Return whether a token is on record; a store that cannot be read has none where another proof will do."""
    try:
        return any(one.get_state(now) is TokenState.VALID for one in await tokens.get_tokens())
    except StoreError:
        if is_needed:
            raise
        return False


class Authentication:
    """ASGI middleware that serves requests of known people only, and puts their principal into the scope."""

    def __init__(self, app: ASGIApp, site: "Site") -> None:
        """Wrap an application of a server."""
        self._app = AuthContextMiddleware(app)
        self._authenticator = site.authenticator
        self._tenants = site.tenants
        self._settings = site.settings.http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = scope["headers"]
        # A part further out may have established it already.
        known = scope.get(PRINCIPAL_KEY)
        found = known if isinstance(known, Principal) else await self._authenticator.authenticate(headers)
        if isinstance(found, Principal):
            found = await self._resolve_accounts(found, headers)
        if isinstance(found, Refusal):
            await self._refuse(found, scope, receive, send)
            return
        # The library binds sessions to the person by this: to everyone else they do not exist.
        user = AuthenticatedUser(LibraryToken(token="", client_id=found.owner, scopes=[], subject=found.owner))
        inner = {**scope, "headers": drop_headers(headers), PRINCIPAL_KEY: found, "user": user}
        if known is None and self._authenticator.is_on and is_listening(scope):
            await self._serve_stream(inner, headers, receive, send)
        else:
            await self._app(inner, receive, send)

    async def _serve_stream(
        self, inner: Scope, headers: Sequence[tuple[bytes, bytes]], receive: Receive, send: Send
    ) -> None:
        """Serve a stream of changes while its token counts: it lasts for hours, and is asked for once."""
        checked_at, is_over = time.monotonic(), False
        with anyio.CancelScope() as stream:

            async def send_while_valid(message: Message) -> None:
                nonlocal checked_at, is_over
                if is_over:
                    return
                is_due = time.monotonic() - checked_at >= RECHECK_SECONDS
                if is_due and message["type"] == "http.response.body":
                    checked_at = time.monotonic()
                    found = await self._authenticator.authenticate(headers)
                    # An issuer that cannot be reached has not withdrawn the token.
                    is_over = isinstance(found, Refusal) and found.status in _REFUSED
                await send({"type": "http.response.body"} if is_over else message)
                if is_over:
                    stream.cancel()

            await self._app(inner, receive, send_while_valid)

    async def _resolve_accounts(
        self, principal: Principal, headers: Sequence[tuple[bytes, bytes]]
    ) -> Principal | Refusal:
        try:
            keys = parse_own_keys(headers, are_accepted=self._settings.should_accept_own_keys)
            return await resolve_accounts(principal, keys, self._tenants)
        except OwnKeysRefused as exc:
            return Refusal(exc.status, exc.sentence, "invalid_request" if exc.status == 400 else "")  # noqa: PLR2004
        except FlowportError as exc:
            return Refusal(400 if isinstance(exc, ConfigurationError) else 503, str(exc))

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        logger.info("a request is refused with %d: %s", refusal.status, refusal.sentence)
        await _drain(scope, receive)
        url = build_metadata_url(self._settings.public_url, scope)
        response = build_refusal(refusal, url, self._get_scopes())
        await response(scope, receive, send)

    def _get_scopes(self) -> tuple[str, ...]:
        verifier = self._authenticator.verifier
        return () if verifier is None else verifier.scopes


def is_listening(scope: Scope) -> bool:
    """Return whether a request opens a stream of changes, in either era."""
    if scope.get("method") == "GET":
        return True
    return Headers(scope=scope).get(_METHOD_HEADER, "") == _LISTEN


def build_refusal(refusal: Refusal, metadata_url: str, scopes: tuple[str, ...] = ()) -> Response:
    """Return the answer to a request that is not served.

    Args:
        scopes: What a token of the issuer needs, named where a client has to ask for one.
    """
    headers = {"Cache-Control": "no-store"}
    if refusal.status in _REFUSED and (refusal.error or refusal == NO_TOKEN):
        headers["WWW-Authenticate"] = _build_challenge(refusal, metadata_url, refusal.scopes or scopes)
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    error = refusal.error or ("unauthorized" if refusal == NO_TOKEN else "refused")
    body = json.dumps({"error": error, "error_description": refusal.sentence})
    return Response(body, refusal.status, headers, media_type="application/json")


def _build_challenge(refusal: Refusal, metadata_url: str, scopes: tuple[str, ...]) -> str:
    parts = {
        "error": refusal.error,
        "error_description": refusal.sentence if refusal.error else "",
        "scope": " ".join(scopes),
        "resource_metadata": metadata_url,
    }
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parts.items() if value)


async def _drain(scope: Scope, receive: Receive) -> None:
    """Read a little of a refused request's body; one that waits to be asked for it is not asked."""
    if any(name.lower() == b"expect" for name, _ in scope["headers"]):
        return
    size = 0
    with anyio.move_on_after(_DRAIN_SECONDS):
        while size < _MAX_DRAINED_BYTES:
            message = await receive()
            size += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                return
