"""Lists in pages, in each form in which they may come."""

from typing import Any

import pytest

from tests.fakes.magica.client import MagicaClient
from tests.fakes.magica.dialect import ListShape
from tests.fakes.magica.pages import build_page
from tests.fakes.magica.refusals import Denied

ITEMS: list[dict[str, Any]] = [{"id": str(number)} for number in range(120)]


def test_pages_are_numbered_from_one() -> None:
    """`page`, `pageSize`, `total` and `hasMore`, as re-implementations have them."""
    assert build_page(ITEMS, {}, ListShape.PAGED) == {
        "items": ITEMS[:50],
        "page": 1,
        "pageSize": 50,
        "total": 120,
        "hasMore": True,
    }
    last = build_page(ITEMS, {"page": "2", "pageSize": "500"}, ListShape.PAGED)
    assert (last["items"], last["pageSize"], last["hasMore"]) == (ITEMS[100:], 100, False)
    assert build_page(ITEMS, {"page": "9"}, ListShape.PAGED)["items"] == []


def test_a_cursor_leads_to_the_next_page() -> None:
    """The last page has none."""
    first = build_page(ITEMS, {"pageSize": "100"}, ListShape.CURSOR)
    last = build_page(ITEMS, {"pageSize": "100", "cursor": first["nextCursor"]}, ListShape.CURSOR)
    assert (first["items"] + last["items"], last["nextCursor"]) == (ITEMS, None)


def test_a_list_may_come_whole() -> None:
    """With `items` alone, as the quickstart reads it, or as a bare array."""
    assert build_page(ITEMS, {"page": "2"}, ListShape.ITEMS) == {"items": ITEMS}
    assert build_page(ITEMS, {"page": "2"}, ListShape.ARRAY) == ITEMS


@pytest.mark.parametrize("query", [{"page": "0"}, {"page": "-1"}, {"page": "x"}, {"pageSize": "9" * 11}, {"page": "²"}])
def test_what_is_not_a_number_of_a_page_is_a_400(query: dict[str, str]) -> None:
    """A client's mistake in paging must not pass."""
    with pytest.raises(Denied) as caught:
        build_page(ITEMS, query, ListShape.PAGED)
    assert (caught.value.status, caught.value.details[0]["code"]) == (400, "too_small")


@pytest.mark.parametrize("cursor", ["", "x", "c-1"])
def test_an_invented_cursor_is_a_400(cursor: str) -> None:
    """Cursors are the server's."""
    with pytest.raises(Denied):
        build_page(ITEMS, {"cursor": cursor}, ListShape.CURSOR)


async def test_hundreds_of_workflows_come_in_pages(magica: MagicaClient) -> None:
    """Generated apps are workflows too, each with an id or slug of its own, in either list."""
    await magica.post("/_sandbox/catalogue", {"apps": 490})
    found: list[str] = []
    for path, key in (("workflows", "id"), ("system-workflows", "slug")):
        page, has_more = 0, True
        while has_more:
            page += 1
            answer = await magica.get(f"/v1/{path}", page=page, pageSize=100)
            found += [item[key] for item in answer["items"]]
            has_more = answer["hasMore"]
    catalogue = (await magica.get("/_sandbox/catalogue"))["apps"]
    assert sorted(found) == sorted(app["workflow"] for app in catalogue if app["is_own"] or app["is_published"])
    assert len(set(found)) == len(found) > 470
