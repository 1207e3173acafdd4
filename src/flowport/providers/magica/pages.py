"""Magica's lists in every shape that was seen or documented: bare, under `items`, in pages, with a cursor. Pure.

Source: the quickstart of magica.com/docs, whose sample takes `items` out of the answer, and the MCP pages, whose lists take
a cursor or a page. The names of the paging fields were inferred from clients.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

_ITEM_KEYS: Final = ("items", "workflows", "systemWorkflows", "results", "data")
_HOLDERS: Final = ("pagination", "pageInfo", "meta", "data")
_CURSOR_KEYS: Final = ("nextCursor", "next_cursor")
_MORE_KEYS: Final = ("hasMore", "has_more", "hasNextPage")
_MAX_CURSOR_LENGTH: Final = 1000


def find_items(body: Any) -> list[Any] | None:
    """Return the items of a list; None when the body is none."""
    if isinstance(body, list):
        return body
    if not isinstance(body, Mapping):
        return None
    found = next((body[key] for key in _ITEM_KEYS if isinstance(body.get(key), list)), None)
    return find_items(body.get("data")) if found is None and isinstance(body.get("data"), Mapping) else found


def find_next_query(body: Any) -> str:
    """Return the query that asks for what follows; empty when nothing does, or nobody could tell how to ask."""
    if not isinstance(body, Mapping):
        return ""
    holders = [body, *(inner for key in _HOLDERS if isinstance(inner := body.get(key), Mapping))]
    is_more = _get(holders, _MORE_KEYS)
    cursor = _get(holders, _CURSOR_KEYS if is_more is not True else (*_CURSOR_KEYS, "cursor"))
    if isinstance(cursor, str) and 0 < len(cursor) <= _MAX_CURSOR_LENGTH and is_more is not False:
        return f"cursor={quote(cursor, safe='')}"
    page, size = _get(holders, ("page",)), _get(holders, ("pageSize", "page_size", "limit"))
    if is_more is not True or not _is_count(page):
        return ""
    return f"page={page + 1}" + (f"&pageSize={size}" if _is_count(size) else "")


def _get(holders: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Any:
    return next((value for one in holders for key in keys if (value := one.get(key)) is not None), None)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1_000_000  # noqa: PLR2004
