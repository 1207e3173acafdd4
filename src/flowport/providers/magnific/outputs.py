"""Magnific's results: the files of a run, and how long their links live. Pure.

Source: the OpenAPI "Magnific API" 1.0.0, `webhook-result-item` and the page `get-run`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, assert_never

from flowport.domain.models import Output
from flowport.providers.result_items import MAX_OUTPUTS, FoundItem, UnreadItem, build_output, iterate_items, read_file

LINK_SECONDS: Final = 12 * 3600.0
"""How long a result's link lives (get-run: "temporary, 12 hours")."""


_EXPIRY: Final = re.compile(r"exp_(\d{9,11})(?!\d)")
"""The instant inside a result link's token, as the example of `get-run` shows it."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a result holds."""

    outputs: tuple[Output, ...] = ()
    unread: tuple[str, ...] = ()
    """The beginnings of the items that could not be read."""


def parse_outputs(result: Any, *, now: float) -> Parsed:
    """Return the files and texts of a result, numbered through their kinds, and what cannot be read of it.

    Args:
        result: The object of the documentation, or whatever stands in its place.
        now: When the answer came; a link that does not say how long it lives is counted from it.
    """
    outputs: list[Output] = []
    unread: list[str] = []
    for item in iterate_items(_wrap(result)):
        match item:
            case UnreadItem(kept):
                unread.append(kept)
            case FoundItem() if len(outputs) < MAX_OUTPUTS:
                expires_at = _parse_expiry(item.url, now=now)
                outputs.append(build_output(len(outputs) + 1, item, expires_at=expires_at))
            case FoundItem():
                pass
            case _:
                assert_never(item)
    return Parsed(tuple(outputs), tuple(unread[:MAX_OUTPUTS]))


def _wrap(result: Any) -> Mapping[str, Any]:
    """Return the object of the documentation; a list or an address in its place is what it would hold."""
    if isinstance(result, Mapping):
        return result
    return {"items": result} if isinstance(result, list) or read_file(result, is_address=False) else {}


def _parse_expiry(url: str, *, now: float) -> float:
    """Return when the link stops working: as it says where that is plausible, else twelve hours from now."""
    found = _EXPIRY.search(url)
    stated = float(found.group(1)) if found else now + LINK_SECONDS
    # A clock that is wrong on either side must not make a fresh link look dead or immortal.
    return stated if now < stated <= now + 2 * LINK_SECONDS else now + LINK_SECONDS


def parse_event(event: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return run id, name and metadata of a webhook event.

    The schema is not published: `run_id` is documented, its other spellings and the member with the name are inferred.
    """
    data = event.get("data")
    inner = data if isinstance(data, Mapping) else {}
    run_ids = (event.get("run_id"), event.get("workflow_run_identifier"), inner.get("run_id"))
    names = (event.get(key) for key in ("event", "type", "status"))
    return next(filter(None, run_ids), None), next(filter(None, names), None), None
