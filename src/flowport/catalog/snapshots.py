"""The catalogue on disk, and how readings of it are merged. It needs no network: a command that only lists loads none.

The file is one JSON file for each account, replaced as a whole, with the tools in wire format: reading it is all that the
first `tools/list` waits for, also with the provider down.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from flowport.catalog.listing import Catalogue, Listing
from flowport.domain.models import Account, App, Input, InputKind, Option, Source
from flowport.providers.interface import LeftOut
from flowport.runtime.file_systems import write_whole


def narrow_catalogue(catalogue: Catalogue, source: Source) -> Catalogue:
    """Return the catalogue with only the apps of a source."""
    if catalogue.source is source:
        return catalogue
    kept = tuple(item for item in catalogue.listings if source.includes(is_own=item.app.is_own))
    return replace(catalogue, listings=kept)


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
    """Return whether the definition is known but the tool is not built from it yet."""
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


logger = logging.getLogger(__name__)

FORMAT: Final = 2
"""Raised when older files cannot be read or hold outdated tools; such a file counts as missing."""


def build_cache_path(home: Path, account: Account) -> Path:
    """Return the path of an account's catalogue; the name identifies the account without its key."""
    host = "".join(character if character.isalnum() else "-" for character in account.host)
    return home / "catalogue" / f"{account.provider}-{host}-{account.fingerprint}.json"


def rename_for_host(path: Path, host: str) -> Path:
    """Return the path of the same account's catalogue at another host; of any other file its own path."""
    provider, _, rest = path.stem.partition("-")
    fingerprint = rest.rpartition("-")[2]
    is_cache = path.parent.name == "catalogue" and bool(fingerprint)
    return build_cache_path(path.parents[1], Account(provider, host, fingerprint)) if is_cache else path


def load_catalogue(path: Path) -> Catalogue | None:
    """Return the catalogue of the last run, or None if it cannot be read."""
    try:
        record = json.loads(path.read_bytes())
        if record["format"] != FORMAT:
            return None
        return Catalogue(
            listings=tuple(_parse_listing(item) for item in record["listings"]),
            left_out=tuple(LeftOut(**item) for item in record["left_out"]),
            listed_at=record["listed_at"],
            # Files of the first versions name neither.
            style=record.get("style", ""),
            source=Source(record.get("source", Source.ALL)),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        # Reported when the file is saved.
        logger.info("the cached catalogue cannot be read (%s)", exc.strerror)
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        logger.warning("the cached catalogue cannot be read and is rebuilt (%s)", type(exc).__name__)
        return None


def save_catalogue(path: Path, catalogue: Catalogue) -> None:
    """Write the catalogue; a crash leaves the old file or the new one, never half of one.

    Raises:
        OSError: The folder cannot be written to.
    """
    record = {
        "format": FORMAT,
        "listed_at": catalogue.listed_at,
        "style": catalogue.style,
        "source": catalogue.source.value,
        "listings": [_format_listing(listing) for listing in catalogue.listings],
        "left_out": [{"app_id": i.app_id, "app_name": i.app_name, "reason": i.reason} for i in catalogue.left_out],
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, json.dumps(record, separators=(",", ":")))


def _format_listing(listing: Listing) -> dict[str, Any]:
    app = listing.app
    return {
        "provider": app.provider,
        "id": app.id,
        "name": app.name,
        "is_own": app.is_own,
        "price_credits": app.price_credits,
        "inputs": None if app.inputs is None else [_format_input(item) for item in app.inputs],
        "read_at": app.read_at,
        "tool_name": listing.tool_name,
        "property_names": dict(listing.property_names),
        "tool": listing.tool,
        "left_out": listing.left_out,
    }


def _parse_listing(record: Mapping[str, Any]) -> Listing:
    inputs = record["inputs"]
    app = App(
        provider=record["provider"],
        id=record["id"],
        name=record["name"],
        is_own=record["is_own"],
        price_credits=record["price_credits"],
        inputs=None if inputs is None else tuple(_parse_input(item) for item in inputs),
        read_at=record["read_at"],
    )
    return Listing(app, record["tool_name"], record["property_names"], record["tool"], record["left_out"])


def _format_input(item: Input) -> dict[str, Any]:
    return {
        "id": item.id,
        "run_key": item.run_key,
        "kind": item.kind.value,
        "label": item.label,
        "is_required": item.is_required,
        "default": item.default,
        "options": [[option.value, option.label] for option in item.options],
        "minimum": item.minimum,
        "maximum": item.maximum,
        "is_list": item.is_list,
        "name": item.name,
        "max_length": item.max_length,
        "max_items": item.max_items,
        "is_open": item.is_open,
        "description": item.description,
        "placeholder": item.placeholder,
    }


def _parse_input(record: Mapping[str, Any]) -> Input:
    kind = InputKind(record["kind"])
    options = tuple(Option(value, label) for value, label in record["options"])
    return Input(**{**record, "kind": kind, "options": options})
