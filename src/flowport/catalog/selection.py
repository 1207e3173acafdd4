"""Choose which apps get a tool of their own. Pure."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase

from flowport.catalog.records import Listing


def order_listings(
    listings: Sequence[Listing], *, globs: Sequence[str], used_app_ids: AbstractSet[str]
) -> tuple[Listing, ...]:
    """Return all listings, the ones that deserve a place in the tool list first.

    First the apps that `globs` name, in the order of the globs; then own apps; then those in `used_app_ids`; then the
    rest. Inside each group the provider's order stands.
    """
    ranks = {id(listing): (_rank(listing, globs, used_app_ids), place) for place, listing in enumerate(listings)}
    return tuple(sorted(listings, key=lambda listing: ranks[id(listing)]))


def _rank(listing: Listing, globs: Sequence[str], used_app_ids: AbstractSet[str]) -> int:
    names = (listing.tool_name, listing.app.name.casefold(), listing.app.id)
    for place, glob in enumerate(globs):
        if any(fnmatchcase(name, pattern) for name in names for pattern in (glob, glob.casefold())):
            return place
    if listing.app.is_own:
        return len(globs)
    return len(globs) + (1 if listing.app.id in used_app_ids else 2)
