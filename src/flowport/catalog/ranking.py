"""Choose which apps get a tool of their own, and keep the tools in a stable order.

Clients cache a conversation by the bytes before it, and the tool list is at its beginning: another order makes every turn cost
its full price again. So later changes only add at the end or remove, and the order is kept on disk for the next start.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from flowport.catalog.listing import Listing
from flowport.runtime.file_systems import write_whole


@dataclass(frozen=True, slots=True)
class RankedTool:
    """A tool with its rank in the list."""

    rank: int
    """Lower ranks come first."""
    tool: Mapping[str, Any]
    """In wire format."""


def order_listings(
    listings: Sequence[Listing], *, globs: Sequence[str], used_app_ids: AbstractSet[str]
) -> tuple[Listing, ...]:
    """Return all listings, the ones that deserve a place in the tool list first.

    First the apps that `globs` name, in the order of the globs; then own apps; then those in `used_app_ids`; then the
    rest. Inside each group the provider's order stands.
    """
    return tuple(sorted(listings, key=lambda listing: _rank(listing, globs, used_app_ids)))


def rank_tools(
    listings: Sequence[Listing], *, globs: Sequence[str], used_app_ids: AbstractSet[str]
) -> tuple[RankedTool, ...]:
    """Return the tools of the listings that have one, in the order of `order_listings`."""
    ordered = order_listings(listings, globs=globs, used_app_ids=used_app_ids)
    return tuple(
        RankedTool(_rank(listing, globs, used_app_ids), listing.tool) for listing in ordered if listing.tool is not None
    )


def index_tools(ranked: Sequence[RankedTool]) -> dict[str, Mapping[str, Any]]:
    """Return the tools by name: the content of a list without its order."""
    return {one.tool["name"]: one.tool for one in ranked}


def merge_tools(catalogs: Sequence[Sequence[RankedTool]], *, max_tools: int) -> list[Mapping[str, Any]]:
    """Return the tools of several catalogues, each in its order, in one list.

    Catalogues alternate within a rank, so that a provider with many apps does not displace another's.
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


logger = logging.getLogger(__name__)

ORDER_NAME: Final = "tool-order.json"

Tool = Mapping[str, Any]


class ToolOrder:
    """The order in which tools were listed the last time."""

    def __init__(self, path: Path | None = None, globs: Sequence[str] = ()) -> None:
        """Load the order of an earlier process.

        Args:
            path: Where it is kept; None to keep it in memory alone.
            globs: The apps that the user wants first. An order saved with others is ignored.
        """
        self._path = path
        self._globs = list(globs)
        self._names = _load_names(path, self._globs)

    def arrange(self, tools: Sequence[Tool]) -> list[Tool]:
        """Return the tools in the order in which they were listed; new ones come last, as they are."""
        places = {name: place for place, name in enumerate(self._names)}
        return sorted(tools, key=lambda tool: places.get(tool["name"], len(places)))

    def note_listed(self, tools: Sequence[Tool]) -> None:
        """Record that a client got this list; its order stays from now on."""
        names = [str(tool["name"]) for tool in tools]
        if names == self._names:
            return
        self._names = names
        if self._path is not None:
            try:
                write_whole(self._path, json.dumps({"first": self._globs, "tools": names}))
            except OSError as exc:
                logger.info("the order of the tools could not be saved: %s", exc.strerror)


class Places:
    """The order in which the apps of a catalogue were first seen by this process.

    A provider that lists its apps in another order must not change which of them have a tool.
    """

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def settle(self, listings: Sequence[Listing]) -> list[Listing]:
        """Return the listings in the order in which they were first seen; new and returning ones come last."""
        settled = sorted(listings, key=lambda listing: self._places.get(listing.app.id, len(self._places)))
        self._places = {listing.app.id: place for place, listing in enumerate(settled)}
        return settled


def _load_names(path: Path | None, globs: list[str]) -> list[str]:
    """Return the names in the file; none where it is missing, damaged or made for other globs."""
    try:
        record = None if path is None else json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(record, dict) or record.get("first") != globs:
        return []
    names = record.get("tools")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
