"""The apps as the last catalogue on disk has them: known at once, also without a network."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio

from flowport.actions.views.app import KnownApp
from flowport.catalog.listing import Listing
from flowport.catalog.search import get_listing
from flowport.catalog.snapshots import build_cache_path, load_catalogue, narrow_catalogue
from flowport.domain.call_errors import AppAmbiguous, AppNotFound
from flowport.domain.errors import StoreError
from flowport.domain.models import Account, Source
from flowport.domain.text import build_slug
from flowport.providers.registry import build_demo_account, get_demo_plugin, get_plugin
from flowport.settings.settings import Settings
from flowport.store.opening import find_store
from flowport.store.records import AppHistory

SANDBOX_TITLE = "sandbox"


@dataclass(frozen=True, slots=True)
class Apps:
    """What a person may run, and what is left out."""

    apps: tuple[KnownApp, ...]
    unusable: tuple[tuple[str, str], ...]
    """Name and reason of what the provider lists without a usable id."""
    listed_at: float | None
    """When the oldest of the lists was read."""

    @property
    def age_seconds(self) -> float:
        """How old the oldest of the lists is."""
        return 0.0 if self.listed_at is None else max(0.0, time.time() - self.listed_at)


def get_accounts(settings: Settings) -> list[tuple[Account, str]]:
    """Return the accounts of the settings, each with the title of its provider; without a key the sandbox's."""
    named = [(one.account, get_plugin(one.provider).title) for one in settings.providers]
    return named or [(build_demo_account(get_demo_plugin()), SANDBOX_TITLE)]


def name_app(listings: Sequence[Listing], wanted: str) -> str:
    """Return the name by which an app is looked up: in a terminal the prefix of the sandbox's tools may be left out."""
    try:
        get_listing(listings, wanted)
    except AppNotFound:
        meant = f"sandbox_{build_slug(wanted)}"
        return meant if any(meant == one.tool_name for one in listings) else wanted
    except AppAmbiguous:
        return wanted
    return wanted


def load_apps(settings: Settings, *, with_history: bool = True) -> Apps | None:
    """Return the apps of the catalogues on disk; None when one of them was never read."""
    apps: list[KnownApp] = []
    unusable: list[tuple[str, str]] = []
    listed_at: list[float] = []
    for account, title in get_accounts(settings):
        catalogue = load_catalogue(build_cache_path(settings.home, account))
        if catalogue is None or catalogue.listed_at is None:
            return None
        is_demo = not settings.providers
        narrowed = narrow_catalogue(catalogue, Source.ALL if is_demo else settings.source)
        app_ids = [one.app.id for one in narrowed.listings]
        histories = load_histories(settings, account, app_ids) if with_history else {}
        apps += [KnownApp(one, histories.get(one.app.id, AppHistory()), title) for one in narrowed.listings]
        unusable += [(one.app_name or one.app_id, one.reason) for one in catalogue.left_out]
        listed_at.append(catalogue.listed_at)
    return Apps(tuple(apps), tuple(unusable), min(listed_at))


def load_histories(settings: Settings, account: Account, app_ids: list[str]) -> Mapping[str, AppHistory]:
    """Return what is known of earlier runs; nothing where there is no record."""
    try:
        store = find_store(settings.home, settings.database_url)
    except StoreError:
        store = None
    if store is None:
        return {}

    async def read() -> Mapping[str, AppHistory]:
        try:
            return await store.get_histories(account_id=account.id, app_ids=app_ids)
        except StoreError:
            # The apps matter more than how long they usually take.
            return {}
        finally:
            await store.close()

    work: Callable[[], Awaitable[Mapping[str, AppHistory]]] = read
    return anyio.run(work)
