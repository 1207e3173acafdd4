"""Who asks: the owner of runs and files, the account that pays, and the person's own limits."""

from dataclasses import dataclass
from typing import Final

from flowport.domain.models import LOCAL_OWNER
from flowport.domain.spending import SpendingLimits


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request, as the transport has established it."""

    owner: str
    """The boundary of runs, files, caps, subscriptions and error texts: a token's subject, or the local owner."""
    account_ids: frozenset[str] | None = None
    """The accounts whose apps are offered and whose keys are used, by id or by the name of their provider; None for every
    account of the settings. `may_use` decides."""
    spending_limits: SpendingLimits | None = None
    """The person's own limits; None for those of the settings."""
    is_local: bool = False
    """Whether the paths of this computer are the caller's own, so that files may be named and saved by path."""
    token_id: str = ""
    """Which token was used, for logs and sign-outs; empty without one. It is not secret."""

    def may_use(self, account_id: str) -> bool:
        """Return whether the apps and the key of an account are for this principal."""
        ids = self.account_ids
        return ids is None or account_id in ids or account_id.partition(":")[0] in ids


LOCAL: Final = Principal(LOCAL_OWNER, is_local=True)
"""The person at this computer: standard input and output, the terminal, and a loopback server without authentication."""
