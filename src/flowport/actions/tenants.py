"""The people of one server: each gets a workspace of the accounts that are theirs, with one engine below them all."""

import hashlib
from dataclasses import replace
from typing import Protocol

from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.catalog.ranking import ORDER_NAME, ToolOrder
from flowport.domain.errors import ConfigurationError
from flowport.domain.principal import Principal
from flowport.settings.own_keys import get_own_key_header


class OwnAccountBook(Protocol):
    """The accounts of people's own keys, which come and go."""

    async def open(self, provider: str, key: str, owner: str) -> OpenCatalog:
        """Open the account of a key, or return it if it is open."""

    def use(self, account_id: str) -> OpenCatalog | None:
        """Return an open account and note that it is used; None when it is not open."""

    def is_open(self, account_id: str) -> bool:
        """Return whether an account is open."""


class Tenants:
    """Finds the workspace of a principal. Principals with the same accounts share one, and its catalogues and limits."""

    def __init__(self, shared: Workspace, own_accounts: OwnAccountBook | None = None) -> None:
        """Serve the accounts of a workspace.

        Args:
            shared: With every account of the settings.
            own_accounts: Opens accounts of people's own keys; None to refuse such keys.
        """
        self.shared = shared
        self._own_accounts = own_accounts
        self._configured = {one.account.account.id: one for one in shared.catalogs}
        self._by_accounts: dict[frozenset[str], Workspace] = {}

    @property
    def account_ids(self) -> frozenset[str]:
        """The accounts of the settings."""
        return frozenset(self._configured)

    def get_workspace(self, principal: Principal) -> Workspace:
        """Return the workspace that a principal may use; without an account it has no apps."""
        wanted = principal.account_ids
        if wanted is None:
            return self.shared
        catalogs = [one for account_id, one in self._configured.items() if principal.may_use(account_id)]
        own = [self._own_accounts.use(one) for one in sorted(wanted - self.account_ids)] if self._own_accounts else []
        catalogs += [one for one in own if one is not None]
        if catalogs == list(self.shared.catalogs):
            return self.shared
        found = self._by_accounts.get(wanted)
        # An own account that was closed and opened again has another catalogue.
        if found is None or list(found.catalogs) != catalogs:
            self._forget_closed()
            found = replace(self.shared, catalogs=catalogs, tool_order=self._build_order(wanted))
            self._by_accounts[wanted] = found
        return found

    async def open_own_account(self, provider: str, key: str, owner: str) -> str:
        """Open the account of a person's own key, or note that it is used, and return its id.

        Args:
            owner: Who sends the key.

        Raises:
            ConfigurationError: The server takes no such keys, or too many are in use.
        """
        if self._own_accounts is None:
            problem = "is not accepted by this server"
            raise ConfigurationError(get_own_key_header(provider), problem, "Send the request without it.")
        return (await self._own_accounts.open(provider, key, owner)).account.account.id

    def _build_order(self, account_ids: frozenset[str]) -> ToolOrder:
        """Return the order of the tools of these accounts: kept for the next start, unless they come and go."""
        settings = self.shared.settings
        if not account_ids <= self.account_ids:
            return ToolOrder(None, settings.apps)
        digest = hashlib.sha256("\n".join(sorted(account_ids)).encode()).hexdigest()[:16]
        return ToolOrder((settings.home / ORDER_NAME).with_stem(f"tool-order-{digest}"), settings.apps)

    def _forget_closed(self) -> None:
        """Forget the workspaces of own accounts that are closed."""
        own = self._own_accounts
        if own is not None:
            self._by_accounts = {
                ids: one
                for ids, one in self._by_accounts.items()
                if all(own.is_open(account_id) for account_id in ids - self.account_ids)
            }
