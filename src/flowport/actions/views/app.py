"""The facts about one app: its price, usual duration and inputs. Pure."""

from dataclasses import dataclass
from typing import Final

from flowport.actions.views.view import UNKNOWN_COST, Facts, plain
from flowport.catalog.listing import Listing
from flowport.catalog.readings import build_choices, describe_choice
from flowport.domain.models import InputKind
from flowport.domain.text import clean_line, count_bytes
from flowport.domain.uris import format_app_uri
from flowport.store.records import AppHistory, get_usual_seconds

UNKNOWN_KINDS: Final = "unknown until it is run"

_OPTIONS_HEAD_BYTES: Final = 400
"""What is told around the options: names of inputs, and how many more there are."""


@dataclass(frozen=True, slots=True)
class KnownApp:
    """An app and what is known of its runs."""

    listing: Listing
    history: AppHistory
    provider: str
    """As people write it."""

    @property
    def usual_seconds(self) -> int | None:
        """How long its runs usually take; None when too few are known."""
        usual = get_usual_seconds(self.history.durations)
        return None if usual is None else max(round(usual), 1)


def build_app_row(found: KnownApp, *, provider: str, is_listed: bool, is_kind_wanted: bool) -> Facts:
    """Return an app as a row of the list."""
    listing, history = found.listing, found.history
    row: Facts = {
        "tool": listing.tool_name,
        "app": clean_line(listing.app.name),
        "id": clean_line(listing.app.id),
        "provider": provider,
        "price_credits": UNKNOWN_COST if listing.app.price_credits is None else plain(listing.app.price_credits),
        "usual_seconds": found.usual_seconds,
        "call_it_by": "" if listing.left_out else listing.tool_name if is_listed else "run_app",
        "inputs": format_inputs(listing),
        "makes": ", ".join(sorted(history.kinds)) or (UNKNOWN_KINDS if is_kind_wanted else ""),
        "left_out_because": listing.left_out,
    }
    return {key: value for key, value in row.items() if value not in ("", None)}


def format_inputs(listing: Listing) -> str:
    """Return the inputs of an app with their kinds."""
    if listing.app.inputs is None:
        return "" if listing.left_out else "read when the app is first run"
    names = [
        f"{listing.property_names.get(item.id, '?')} ({item.kind.value}{', required' if item.is_required else ''})"
        for item in listing.app.inputs
    ]
    return ", ".join(names) or "none"


def build_options(listing: Listing, *, words: str = "", room_bytes: int | None = None) -> Facts:
    """Return what each input of an app offers to choose from, with the labels, as far as there is room.

    Args:
        words: Only options that hold them; all when empty.
        room_bytes: What the facts may take of an answer; None for no bound.
    """
    options: dict[str, list[str]] = {}
    unshown = 0
    left = float("inf") if room_bytes is None else room_bytes - _OPTIONS_HEAD_BYTES
    for item in listing.app.inputs or ():
        if item.kind is not InputKind.SELECT or not item.options:
            continue
        shown = options.setdefault(listing.property_names.get(item.id, "?"), [])
        described = dict.fromkeys(map(describe_choice, build_choices(item)))
        for text in (text for text in described if words.casefold() in text.casefold()):
            # In the structured content and in the text, with quotes and commas.
            left -= count_bytes(text) * 2 + 4
            if left < 0:
                unshown += 1
            else:
                shown.append(text)
    facts: Facts = {"options": {name: texts for name, texts in options.items() if texts}}
    if unshown:
        facts |= {"options_not_shown": unshown, "all_options": _format_rest(listing)}
    return facts if facts["options"] or unshown else {}


def _format_rest(listing: Listing) -> str:
    return f"find_apps with option shows those that hold a text; {format_app_uri(listing.tool_name)} has all."
