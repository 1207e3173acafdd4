"""Find apps by words, and resolve a name to one app. Pure."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from flowport.catalog.listing import Listing
from flowport.domain.call_errors import AppAmbiguous, AppNotFound, Namesake
from flowport.domain.models import InputKind
from flowport.domain.text import get_nearest

MAX_NEAREST = 3
MAX_WORDS_LENGTH = 4000
"""Characters of a query that are compared: as many as a name can have."""


@dataclass(frozen=True, slots=True)
class Search:
    """A query; omitted fields match everything."""

    words: str = ""
    """All of them must be found, in any order; case, accents and plurals are ignored."""
    takes: InputKind | None = None
    """A kind of input that the app has. An app whose definition was not read has none that is known."""
    max_credits: float | None = None
    """The highest price; an app of unknown price is above it."""


def find_listings(listings: Sequence[Listing], search: Search) -> tuple[Listing, ...]:
    """Return the listings that match, in their order. Words are searched in names, tool names, ids and arguments."""
    wanted = _fold(search.words[:MAX_WORDS_LENGTH]).split()
    return tuple(listing for listing in listings if _is_match(listing, search, wanted))


def is_provider(names: Sequence[str], wanted: str) -> bool:
    """Tell whether one of a provider's names is meant, in whole or in part; an empty text matches all."""
    return any(_fold(wanted[:MAX_WORDS_LENGTH]) in _fold(name) for name in names)


def _is_match(listing: Listing, search: Search, wanted: Sequence[str]) -> bool:
    app = listing.app
    is_taken = search.takes is None or any(item.kind is search.takes for item in app.inputs or ())
    is_cheap = search.max_credits is None or (app.price_credits is not None and app.price_credits <= search.max_credits)
    text = _build_text(listing)
    return is_taken and is_cheap and all(word in text or _get_singular(word) in text for word in wanted)


def _get_singular(word: str) -> str:
    """Return an English plural without its ending: `sketches` and `posters`."""
    for ending in ("es", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word.removesuffix(ending)
    return word


def get_listing(listings: Sequence[Listing], wanted: str) -> Listing:
    """Return the app with this tool name, else with this app id, else with this name.

    Raises:
        AppNotFound: No app has it; the error names similar ones.
        AppAmbiguous: Several apps have it. Each costs money, so none is chosen.
    """
    for listing in listings:
        if wanted == listing.tool_name:
            return listing
    found = [listing for listing in listings if wanted == listing.app.id] or _get_called(listings, wanted)
    if not found:
        raise AppNotFound(wanted[:80], get_nearest(wanted, [item.tool_name for item in listings], limit=MAX_NEAREST))
    if len(found) > 1:
        namesakes = [Namesake(item.tool_name, item.app.id, item.app.provider) for item in found]
        raise AppAmbiguous(wanted, tuple(namesakes))
    return found[0]


def _get_called(listings: Sequence[Listing], wanted: str) -> list[Listing]:
    """Return the apps with exactly this name. An empty name matches nothing."""
    name = _fold(wanted[:MAX_WORDS_LENGTH])
    return [listing for listing in listings if name and name == _fold(listing.app.name)]


def _build_text(listing: Listing) -> str:
    return _fold(" ".join((listing.tool_name, listing.app.name, listing.app.id, *listing.property_names.values())))


def _fold(text: str) -> str:
    """Return the text without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character)).strip()
