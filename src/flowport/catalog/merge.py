"""Merge readings of a catalogue: lists, definitions and what another process has saved. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

from flowport.catalog.listing import Catalogue, Listing
from flowport.domain.models import App, Source

STALE_AFTER_SECONDS: Final = 24 * 3600.0
"""After this long a definition is read again without a sign of a change."""
MAX_REREAD: Final = 5
"""How many stale definitions one refresh reads again."""


def unite_apps(apps: Iterable[App]) -> dict[str, App]:
    """Return each app once, by id, in the order of the lists; the first list counts, and of prices the first known one.

    A list of a user's own apps may have no prices; the other list has, for the same apps.
    """
    united: dict[str, App] = {}
    for app in apps:
        first = united.setdefault(app.id, app)
        if first.price_credits is None:
            united[app.id] = replace(first, price_credits=app.price_credits)
    return united


def carry_over(app: App, tool_name: str, known: Listing | None, *, left_out_since: float = float("inf")) -> Listing:
    """Return the listing of an app from a list, with the definition that an earlier reading found.

    Args:
        left_out_since: An app that was left out is read again, unless that happened later than this.
    """
    if known is None:
        return Listing(app, tool_name)
    if known.app.inputs is None:
        is_settled = bool(known.left_out) and _get_age_rank(known.app.read_at) > left_out_since
        return replace(known, app=replace(app, read_at=known.app.read_at)) if is_settled else Listing(app, tool_name)
    # A list may lack what the definition has; one was observed with ids and names alone.
    price = known.app.price_credits if app.price_credits is None else app.price_credits
    kept = replace(known.app, name=app.name or known.app.name, is_own=app.is_own, price_credits=price)
    is_same = (kept.name, kept.price_credits) == (known.app.name, known.app.price_credits)
    # The tool shows the name and the price, so it is rebuilt when they change.
    return replace(known, app=kept, tool=known.tool if is_same else None)


def replace_listings(catalogue: Catalogue, built: Mapping[str, Listing]) -> Catalogue:
    """Return the catalogue with these listings, by app id, in the places of the old ones."""
    return replace(catalogue, listings=tuple(built.get(item.app.id, item) for item in catalogue.listings))


def is_outdated(listing: Listing) -> bool:
    """Tell whether the definition is known but the tool is not built from it yet."""
    return listing.tool is None and listing.app.inputs is not None and not listing.left_out


def choose_to_reread(listings: Sequence[Listing], *, now: float, declared_ids: AbstractSet[str]) -> list[Listing]:
    """Return the listings whose known definitions are read again: the declared ones, and the stalest, oldest first.

    Args:
        declared_ids: Apps for which the user has declared something that may have changed since.
    """
    oldest = now - STALE_AFTER_SECONDS
    described = [listing for listing in listings if listing.app.inputs is not None]
    # One that cannot be a tool may be usable by now.
    stale = [listing for listing in described if listing.left_out or (listing.app.read_at or oldest) < oldest]
    stale.sort(key=lambda listing: listing.app.read_at or 0.0)
    return [*(listing for listing in described if listing.app.id in declared_ids), *stale[:MAX_REREAD]]


def get_unread(catalogue: Catalogue, app: App) -> Listing | None:
    """Return the listing that still has this definition of the app; None when it was read since, or the app is gone."""
    found = (item for item in catalogue.listings if (item.app.id, item.app.read_at) == (app.id, app.read_at))
    return next(found, None)


def merge_catalogues(ours: Catalogue, stored: Catalogue, *, is_whole: bool) -> Catalogue:
    """Return what two processes know together: the newer lists, and of each definition the newer reading.

    Args:
        is_whole: Whether what is stored has every app that we may list; else only its definitions count.
    """
    is_first = ours.listed_at is None
    if is_first or (is_whole and _get_age_rank(stored.listed_at) >= _get_age_rank(ours.listed_at)):
        return _update_definitions(stored, ours)
    return _update_definitions(ours, stored)


def _update_definitions(catalogue: Catalogue, other: Catalogue) -> Catalogue:
    known = {listing.app.id: listing for listing in catalogue.listings}
    newer = {
        item.app.id: item
        for item in other.listings
        if item.app.id in known and _get_age_rank(item.app.read_at) > _get_age_rank(known[item.app.id].app.read_at)
    }
    return replace_listings(catalogue, newer)


def _get_age_rank(at: float | None) -> float:
    """Return a comparable instant; None is older than everything."""
    return float("-inf") if at is None else at


def narrow_catalogue(catalogue: Catalogue, source: Source) -> Catalogue:
    """Return the catalogue with only the apps of a source."""
    if catalogue.source is source:
        return catalogue
    kept = tuple(item for item in catalogue.listings if source.includes(is_own=item.app.is_own))
    return replace(catalogue, listings=kept)
