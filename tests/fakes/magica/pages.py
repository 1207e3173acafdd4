"""Lists in pages. How Magica's lists go on is not documented; re-implementations have `page` and `pageSize`."""

from collections.abc import Mapping
from typing import Any, Final, assert_never

from tests.fakes.magica.dialect import ListShape
from tests.fakes.magica.refusals import deny_values

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 100


def build_page(items: list[dict[str, Any]], query: Mapping[str, str], shape: ListShape) -> Any:
    """Build the part of a list that a request asks for; raises `Denied` with 400 for what is not a number."""
    match shape:
        case ListShape.PAGED:
            return _build_numbered(items, query)
        case ListShape.ITEMS:
            return {"items": items}
        case ListShape.ARRAY:
            return items
        case ListShape.CURSOR:
            return _build_cursored(items, query)
        case _:
            assert_never(shape)


def _build_numbered(items: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    page, size = _read_number(query, "page", 1), _read_size(query)
    end = page * size
    return {
        "items": items[end - size : end],
        "page": page,
        "pageSize": size,
        "total": len(items),
        "hasMore": end < len(items),
    }


def _build_cursored(items: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    cursor = query.get("cursor", "c0")
    if not cursor.removeprefix("c").isdecimal():
        raise deny_values(["cursor"], "custom", "The cursor is not valid")
    start = int(cursor.removeprefix("c"))
    end = start + _read_size(query)
    return {"items": items[start:end], "nextCursor": f"c{end}" if end < len(items) else None}


def _read_size(query: Mapping[str, str]) -> int:
    return min(_read_number(query, "pageSize", DEFAULT_PAGE_SIZE), MAX_PAGE_SIZE)


def _read_number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < MAX_DIGITS and int(text) > 0):
        raise deny_values([name], "too_small", "Too small: expected number to be >=1", minimum=1)
    return int(text)


MAX_DIGITS: Final = 10
