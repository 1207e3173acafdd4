"""Keep the order of the tool list: fixed by the first list, later changes only add at the end or remove.

Clients cache a conversation by the bytes before it, and the tool list stands at its beginning: a list in another order
makes every turn cost its full price again. The order is also kept on disk, so that a restart changes no more than it has
to.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from flowport.catalog.listing import Listing
from flowport.runtime.file_systems import replace_file

logger = logging.getLogger(__name__)

ORDER_NAME: Final = "tool-order.json"

Tool = Mapping[str, Any]


class ToolOrder:
    """The order in which tools were listed the last time."""

    def __init__(self, path: Path | None = None, globs: Sequence[str] = ()) -> None:
        """Take up the order of an earlier process.

        Args:
            path: Where it is kept; None to keep it in memory alone.
            globs: What a person wants first. With others an earlier order does not count.
        """
        self._path = path
        self._globs = list(globs)
        self._names = _load_names(path, self._globs)

    def arrange(self, tools: Sequence[Tool]) -> list[Tool]:
        """Return the tools in the order in which they were listed, those that were not at the end as they come."""
        places = {name: place for place, name in enumerate(self._names)}
        return sorted(tools, key=lambda tool: places.get(tool["name"], len(places)))

    def note_listed(self, tools: Sequence[Tool]) -> None:
        """Note that a client was given this list, whose order stands from now on."""
        names = [str(tool["name"]) for tool in tools]
        if names == self._names:
            return
        self._names = names
        if self._path is not None:
            try:
                _save_names(self._path, names, self._globs)
            except OSError as exc:
                logger.info("the order of the tools could not be saved: %s", exc.strerror)


class Places:
    """The order in which the apps of a catalogue were first seen by this process.

    A provider that tells its apps in another order must not decide anew which of them have a tool.
    """

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def settle(self, listings: Sequence[Listing]) -> list[Listing]:
        """Return the listings in the order in which they were first seen; new ones come last, and those that came back."""
        settled = sorted(listings, key=lambda listing: self._places.get(listing.app.id, len(self._places)))
        self._places = {listing.app.id: place for place, listing in enumerate(settled)}
        return settled


def _load_names(path: Path | None, globs: list[str]) -> list[str]:
    """Return the names of the file; none where it is missing, damaged or made for other globs."""
    try:
        record = None if path is None else json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(record, dict) or record.get("first") != globs:
        return []
    names = record.get("tools")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _save_names(path: Path, names: Sequence[str], globs: Sequence[str]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps({"first": list(globs), "tools": list(names)}), encoding="utf-8")
        replace_file(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
