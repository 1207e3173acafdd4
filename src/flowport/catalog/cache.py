"""Keep a catalogue on disk, so that the next start can list its tools with the provider down.

One JSON file for each account, replaced as a whole. The tools are in it in wire format: reading it is all
that the first `tools/list` waits for.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flowport.catalog.listing import Catalogue, Listing
from flowport.domain.models import Account, App, Input, InputKind, Option, Source
from flowport.providers.interface import LeftOut
from flowport.runtime.file_systems import write_whole

logger = logging.getLogger(__name__)

FORMAT: Final = 2
"""Raised when older files cannot be read or hold outdated tools; such a file counts as missing."""


def build_cache_path(home: Path, account: Account) -> Path:
    """Return the path of an account's catalogue; the name identifies the account without its key."""
    host = "".join(character if character.isalnum() else "-" for character in account.host)
    return home / "catalogue" / f"{account.provider}-{host}-{account.fingerprint}.json"


def get_stamp(path: Path) -> int:
    """Return a number that changes whenever the file is replaced; 0 if it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def load_catalogue(path: Path) -> Catalogue | None:
    """Return the catalogue of the last run, or None if there are none that can be read."""
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
