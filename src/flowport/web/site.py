"""What every part of the web server works on, and the headers of its answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import HTTPConnection

from flowport.actions.tenants import Tenants
from flowport.domain.principal import LOCAL, Principal
from flowport.server.clients import PRINCIPAL_KEY
from flowport.server.shutdown import End
from flowport.settings.settings import Settings
from flowport.web.signing import Signer

SAFE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Site:
    """One web server."""

    settings: Settings
    public_url: str
    """Under which clients and providers reach it, without a slash at the end."""
    tenants: Tenants
    signer: Signer
    get_now: Callable[[], float]
    """Returns the seconds since 1970."""
    end: End
    """The shutdown of this process."""


def get_principal(connection: HTTPConnection) -> Principal:
    """Return who sends an authenticated request; the person at this computer on a server without authentication."""
    found = connection.scope.get(PRINCIPAL_KEY)
    return found if isinstance(found, Principal) else LOCAL
