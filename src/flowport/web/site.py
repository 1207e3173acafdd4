"""What every part of the web server works on, and the headers of its answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import HTTPConnection

from flowport.actions.tenants import Tenants
from flowport.domain.principal import LOCAL, Principal
from flowport.server.clients import PRINCIPAL_KEY
from flowport.server.shutdown import End
from flowport.settings.http_settings import HttpSettings
from flowport.settings.settings import Settings
from flowport.store.cluster import UsedMarks
from flowport.web.access_log import Traffic
from flowport.web.auth import Authenticator
from flowport.web.limits import RateLimit
from flowport.web.signing import Signer
from flowport.web.team import Team

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
    authenticator: Authenticator
    """Finds out who sends a request."""
    traffic: Traffic = field(default_factory=Traffic)
    rate_limit: RateLimit = field(default_factory=lambda: RateLimit(HttpSettings().requests_per_minute))
    """Of each person, and of each address without authentication."""
    used_marks: UsedMarks | None = None
    """What was used once by all replicas of a team; None where this server is alone."""
    team: Team | None = None
    """The database and the queue of a team; None where this server is alone."""
    is_worker: bool = False
    """Whether this process carries out runs of a team, and serves no clients."""


def get_principal(connection: HTTPConnection) -> Principal:
    """Return who sends an authenticated request; the person at this computer on a server without authentication."""
    found = connection.scope.get(PRINCIPAL_KEY)
    return found if isinstance(found, Principal) else LOCAL
