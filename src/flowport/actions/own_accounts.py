"""The accounts of people's own keys: opened when a key comes, closed and forgotten when they are idle.

A key is kept in memory alone, and no longer than its account is open. Its runs are on record by the account's id, so they
are followed again as soon as the key comes back.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NoReturn

import anyio

from flowport.actions.engine import Engine
from flowport.actions.workspace import OpenCatalog
from flowport.domain.errors import ConfigurationError, FlowportError, StoreError
from flowport.providers.registry import ProviderSettings
from flowport.runtime.background import Supervisor
from flowport.runtime.logging import forget_secret, hide_secret
from flowport.settings.own_keys import build_own_settings, get_own_key_header

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 30 * 60.0
"""How long an account without requests and live runs stays open."""

LEAST_IDLE_SECONDS: Final = 120.0
"""How long it stays open when its place is wanted for another: a request with its key may be in progress."""

CHECK_SECONDS: Final = 60.0
"""Between two looks for idle accounts."""

MAX_OPEN: Final = 500
"""Accounts of own keys that are open at once."""


MAX_OF_OWNER: Final = 50
"""Of these, accounts that one owner has opened, so that the others find a place."""


@dataclass(slots=True, eq=False)
class _Entry:
    """One account that is open, or is being opened."""

    secret: str = field(repr=False)
    """The key, which no log line may hold."""
    owner: str
    """Who sent it first."""
    used_at: float
    """Monotonic seconds."""
    is_settled: anyio.Event = field(default_factory=anyio.Event)
    """Set when the account is open, or cannot be opened."""
    closing: anyio.Event = field(default_factory=anyio.Event)
    """Set to close it."""
    opened: OpenCatalog | None = None
    error: FlowportError | None = None


class OwnAccounts:
    """Opens and closes the accounts of people's own keys."""

    def __init__(
        self, engine: Engine, supervisor: Supervisor, *, max_open: int = MAX_OPEN, max_of_owner: int = MAX_OF_OWNER
    ) -> None:
        """Begin with none open."""
        self._engine = engine
        self._settings = engine.workspace.settings
        self._clock = engine.workspace.clock
        self._supervisor = supervisor
        self._configured = {one.account.account.id: one for one in engine.workspace.catalogs}
        self._max_open = max_open
        self._max_of_owner = max_of_owner
        self._entries: dict[str, _Entry] = {}

    def is_open(self, account_id: str) -> bool:
        """Return whether an account is open."""
        return account_id in self._entries

    def use(self, account_id: str) -> OpenCatalog | None:
        """Return an open account and note that it is used; None when it is not open."""
        entry = self._entries.get(account_id)
        if entry is None:
            return None
        entry.used_at = self._clock.monotonic()
        return entry.opened

    async def open(self, provider: str, key: str, owner: str) -> OpenCatalog:
        """Open the account of a key, or return it if it is open.

        Args:
            owner: Who sends the key.

        Raises:
            ConfigurationError: The server does not know the provider's address, or too many accounts are in use.
            StoreError: The store cannot be read or written.
        """
        wanted = build_own_settings(self._settings, provider, key)
        account_id = wanted.account.id
        if (shared := self._configured.get(account_id)) is not None:
            return shared
        # While one place is made, another request may take it.
        while account_id not in self._entries:
            of_owner = [one for one, entry in self._entries.items() if entry.owner == owner]
            if len(of_owner) >= self._max_of_owner:
                await self._make_room(provider, of_owner, f"{len(of_owner)} other keys of yours")
            elif len(self._entries) >= self._max_open:
                await self._make_room(provider, [*self._entries], f"{len(self._entries)} other keys")
            else:
                break
        entry = self._entries.get(account_id)
        if entry is None:
            entry = self._entries[account_id] = _Entry(wanted.api_key, owner, self._clock.monotonic())
            hide_secret(entry.secret)
            self._supervisor.spawn(
                f"account {account_id}", self._keep_open, wanted, entry, on_crash=partial(self._give_up, entry)
            )
        entry.used_at = self._clock.monotonic()
        await entry.is_settled.wait()
        if entry.opened is None:
            raise entry.error or StoreError("Flowport made a mistake", "Its log has the details.")
        return entry.opened

    async def keep_closing(self) -> NoReturn:
        """Close idle accounts from time to time. Never returns."""
        while True:
            await self._clock.sleep(CHECK_SECONDS)
            await self.close_idle()

    async def close_idle(self) -> None:
        """Close every account that was not used for a while and has no live runs."""
        for account_id in tuple(self._entries):
            await self._close_if_idle(account_id, IDLE_SECONDS)

    async def _keep_open(self, wanted: ProviderSettings, entry: _Entry) -> None:
        try:
            async with self._engine.open_account(wanted) as opened:
                entry.opened = opened
                entry.is_settled.set()
                await entry.closing.wait()
        except FlowportError as exc:
            entry.error = exc
        finally:
            self._forget(wanted.account.id, entry)

    async def _give_up(self, entry: _Entry) -> None:
        """Answer those who wait for an account that cannot be opened because of an internal error."""
        entry.is_settled.set()

    def _forget(self, account_id: str, entry: _Entry) -> None:
        if self._entries.get(account_id) is entry:
            del self._entries[account_id]
        entry.closing.set()
        if not any(other.secret == entry.secret for other in self._entries.values()):
            forget_secret(entry.secret)
        entry.secret, entry.opened = "", None
        entry.is_settled.set()

    async def _make_room(self, provider: str, among: Sequence[str], others: str) -> None:
        """Close the account of these that was not used for longest.

        Raises:
            ConfigurationError: Every account is in use.
        """
        used_at = {one: self._entries[one].used_at for one in among}
        for account_id in sorted(among, key=used_at.__getitem__):
            if await self._close_if_idle(account_id, LEAST_IDLE_SECONDS):
                return
        problem = f"cannot be used just now, because {others} are in use"
        raise ConfigurationError(get_own_key_header(provider), problem, "Try again in a few minutes.")

    async def _close_if_idle(self, account_id: str, seconds: float) -> bool:
        """Close an account that was not used for so long and has no live runs, and return whether that was so."""
        entry = self._entries.get(account_id)
        if entry is None or not self._is_unused(entry, seconds) or await self._engine.is_busy(account_id):
            return False
        # A request may have come while the store was asked.
        if self._entries.get(account_id) is not entry or not self._is_unused(entry, seconds):
            return False
        # The next request opens it again.
        del self._entries[account_id]
        entry.closing.set()
        return True

    def _is_unused(self, entry: _Entry, seconds: float) -> bool:
        return entry.is_settled.is_set() and self._clock.monotonic() - entry.used_at >= seconds
