"""Find apps by words, and resolve a name to one app. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from flowport.catalog.listing import Listing
from flowport.catalog.text_search import Field, fold, rank, rank_by_spelling
from flowport.domain.call_errors import AppAmbiguous, AppNotFound, Namesake
from flowport.domain.models import InputKind, OutputKind
from flowport.domain.text import get_nearest

MAX_NEAREST = 3
MAX_NEAR = 10
"""Apps that a search shows at most where none has all that was asked for."""
_NEAR_SHARE = 0.4
"""An app is near with such a share of the best one's score."""
MAX_WORDS_LENGTH = 4000
"""Characters of a query that are compared: as many as a name can have."""


@dataclass(frozen=True, slots=True)
class Search:
    """A query; omitted fields match everything."""

    words: str = ""
    """Words or a sentence, in any order; case, accents, endings and typos are ignored."""
    takes: InputKind | None = None
    """A kind of input that the app has. An app whose definition was not read has none that is known."""
    max_credits: float | None = None
    """The highest price; an app of unknown price is above it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An app that may be meant, and what its runs made before."""

    listing: Listing
    made: Collection[OutputKind] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: places of candidates, the best first."""

    places: tuple[int, ...]
    is_exact: bool = True
    """Whether these apps have everything that was asked for; otherwise they are the nearest."""


def search_apps(candidates: Sequence[Candidate], search: Search) -> Found:
    """Return the apps that have all that is asked for, or the nearest; nothing only where there is no app.

    Words are compared with names, arguments and their labels, and the kinds of inputs and results. Without words the apps
    keep their order.
    """
    fitting = [place for place, one in enumerate(candidates) if _is_fitting(one.listing, search)]
    words = search.words[:MAX_WORDS_LENGTH].strip()
    if not words:
        return Found(tuple(fitting)) if fitting else Found(tuple(range(len(candidates)))[:MAX_NEAR], is_exact=False)
    pool = fitting or range(len(candidates))
    exact = [place for place in pool if fold(words) in _fold_names(candidates[place].listing)]
    if fitting and exact:
        return Found(tuple(exact))
    ranked = rank([_build_fields(candidates[place]) for place in pool], words)
    complete = [pool[match.index] for match in ranked if match.is_complete]
    if fitting and complete:
        return Found(tuple(complete))
    near = [pool[match.index] for match in ranked if match.score >= ranked[0].score * _NEAR_SHARE]
    if not near:
        near = [
            pool[place] for place in rank_by_spelling([candidates[place].listing.app.name for place in pool], words)
        ]
    return Found(tuple(near[:MAX_NEAR]), is_exact=False)


def _is_fitting(listing: Listing, search: Search) -> bool:
    app = listing.app
    is_taken = search.takes is None or any(item.kind is search.takes for item in app.inputs or ())
    is_cheap = search.max_credits is None or (app.price_credits is not None and app.price_credits <= search.max_credits)
    return is_taken and is_cheap


def _fold_names(listing: Listing) -> set[str]:
    return {fold(listing.app.name), fold(listing.app.id), listing.tool_name}


def _build_fields(candidate: Candidate) -> tuple[Field, ...]:
    """Return the texts of an app with their weights: its name says the most."""
    listing, inputs = candidate.listing, candidate.listing.app.inputs or ()
    labels = " ".join((*listing.property_names.values(), *(item.label for item in inputs)))
    kinds = " ".join(sorted({*(item.kind.value for item in inputs), *(kind.value for kind in candidate.made)}))
    return (listing.app.name, 3.0), (listing.tool_name, 1.0), (listing.app.id, 1.0), (labels, 0.5), (kinds, 0.5)


def is_provider(names: Sequence[str], wanted: str) -> bool:
    """Return whether one of a provider's names is meant, in whole or in part; an empty text matches all."""
    return any(fold(wanted[:MAX_WORDS_LENGTH]) in fold(name) for name in names)


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
    name = fold(wanted[:MAX_WORDS_LENGTH])
    return [listing for listing in listings if name and name == fold(listing.app.name)]
