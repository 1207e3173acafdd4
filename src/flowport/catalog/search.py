"""Find apps by words, and find the one app that a name means. Pure."""

import unicodedata
from collections.abc import Sequence

from flowport.catalog.records import Listing
from flowport.errors import AppNotFound
from flowport.naming import get_nearest

MAX_NEAREST = 3
MAX_WORDS_LENGTH = 4000
"""Characters of a question that are looked at: as many as a name can have."""


def find_listings(listings: Sequence[Listing], words: str) -> tuple[Listing, ...]:
    """Return the listings that hold every word in their name, tool name, id or arguments; all of them for no words."""
    wanted = _fold(words[:MAX_WORDS_LENGTH]).split()
    return tuple(listing for listing in listings if all(word in _build_text(listing) for word in wanted))


def get_listing(listings: Sequence[Listing], wanted: str) -> Listing:
    """Return the app with this tool name, app id or exact name; of namesakes the first.

    Raises:
        AppNotFound: None answers to it; the error names those that look alike.
    """
    for listing in listings:
        if wanted in {listing.tool_name, listing.app.id}:
            return listing
    wanted = wanted[:MAX_WORDS_LENGTH]
    name = _fold(wanted)
    for listing in listings:
        # Nothing names no app, not even one without a name.
        if name and name == _fold(listing.app.name):
            return listing
    raise AppNotFound(wanted[:80], get_nearest(wanted, [item.tool_name for item in listings], limit=MAX_NEAREST))


def _build_text(listing: Listing) -> str:
    return _fold(" ".join((listing.tool_name, listing.app.name, listing.app.id, *listing.property_names.values())))


def _fold(text: str) -> str:
    """Return the text without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character)).strip()
