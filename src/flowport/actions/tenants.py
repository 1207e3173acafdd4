"""The people of one server: each gets a workspace of the accounts that are theirs, with one engine below them all."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from flowport.actions.workspace import Workspace
from flowport.domain.principal import Principal

OpenOwnAccount = Callable[[str, str], Awaitable[str]]
"""Opens the account of a person's own key by provider and key, and returns its account id."""


@dataclass(frozen=True, slots=True)
class Tenants:
    """Finds the workspace of a principal. Principals with the same accounts share one, and its catalogues and limits."""

    shared: Workspace
    """With every account of the settings."""
    open_own_account: OpenOwnAccount
    _by_accounts: dict[frozenset[str], Workspace] = field(default_factory=dict)

    def get_workspace(self, principal: Principal) -> Workspace:
        """Return the workspace that a principal may use; without an account it has no apps."""
        if principal.account_ids is None:
            return self.shared
        found = self._by_accounts.get(principal.account_ids)
        if found is None:
            catalogs = [one for one in self.shared.catalogs if one.account.account.id in principal.account_ids]
            found = self._by_accounts[principal.account_ids] = replace(self.shared, catalogs=catalogs)
        return found
