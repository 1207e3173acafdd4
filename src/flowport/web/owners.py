"""Bind the sessions of older clients to their owners: to every other owner a session does not exist."""

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.types import ASGIApp, Receive, Scope, Send

from flowport.domain.principal import Principal
from flowport.server.clients import PRINCIPAL_KEY
from flowport.web.site import Site


class OwnedSessions:
    """ASGI middleware, inside the authentication, that names the owner of each request to the protocol's library.

    The library answers a request for a session of another owner exactly as one for a session that does not exist. It
    gets no token, which it has no use for.
    """

    def __init__(self, app: ASGIApp, site: Site) -> None:  # noqa: ARG002 - every guard gets it
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        principal = scope.get(PRINCIPAL_KEY)
        if isinstance(principal, Principal):
            token = AccessToken(token="", client_id="flowport", scopes=[], subject=principal.owner)
            scope = {**scope, "user": AuthenticatedUser(token)}
        await self._app(scope, receive, send)
