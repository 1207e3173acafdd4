"""Choose which apps get a tool of their own. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from flowport.catalog.listing import Listing


@dataclass(frozen=True, slots=True)
class RankedTool:
    """A tool with its claim to a place in the list."""

    rank: int
    """The smaller, the sooner."""
    tool: Mapping[str, Any]
    """As it goes over the wire."""


def order_listings(
    listings: Sequence[Listing], *, globs: Sequence[str], used_app_ids: AbstractSet[str]
) -> tuple[Listing, ...]:
    """Return all listings, the ones that deserve a place in the tool list first.

    First the apps that `globs` name, in the order of the globs; then own apps; then those in `used_app_ids`; then the
    rest. Inside each group the provider's order stands.
    """
    ranks = {id(listing): (_rank(listing, globs, used_app_ids), place) for place, listing in enumerate(listings)}
    return tuple(sorted(listings, key=lambda listing: ranks[id(listing)]))


def rank_tools(
    listings: Sequence[Listing], *, globs: Sequence[str], used_app_ids: AbstractSet[str]
) -> tuple[RankedTool, ...]:
    """Return the tools of the listings that have one, in the order of `order_listings`."""
    ordered = order_listings(listings, globs=globs, used_app_ids=used_app_ids)
    return tuple(
        RankedTool(_rank(listing, globs, used_app_ids), listing.tool) for listing in ordered if listing.tool is not None
    )


def index_tools(ranked: Sequence[RankedTool]) -> dict[str, Mapping[str, Any]]:
    """Return the tools by name: what a list holds, whatever its order, which clients are given as it was first."""
    return {one.tool["name"]: one.tool for one in ranked}


def merge_tools(catalogs: Sequence[Sequence[RankedTool]], *, max_tools: int) -> list[Mapping[str, Any]]:
    """Return the tools of several catalogues, each in its order, in one list.

    Of one rank each catalogue has its turn, so that no provider with many apps keeps another's out.
    """
    claims: list[tuple[tuple[int, int, int], Mapping[str, Any]]] = []
    for n, tools in enumerate(catalogs):
        places: defaultdict[int, int] = defaultdict(int)
        for one in tools:
            claims.append(((one.rank, places[one.rank], n), one.tool))
            places[one.rank] += 1
    claims.sort(key=lambda claim: claim[0])
    return [tool for _, tool in claims[:max_tools]]


def _rank(listing: Listing, globs: Sequence[str], used_app_ids: AbstractSet[str]) -> int:
    names = (listing.tool_name, listing.app.name.casefold(), listing.app.id)
    for place, glob in enumerate(globs):
        if any(fnmatchcase(name, pattern) for name in names for pattern in (glob, glob.casefold())):
            return place
    if listing.app.is_own:
        return len(globs)
    return len(globs) + (1 if listing.app.id in used_app_ids else 2)
