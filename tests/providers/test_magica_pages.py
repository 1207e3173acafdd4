"""Lists in every shape: bare, under a key, in pages, with a cursor."""

from typing import Any

import pytest

from flowport.providers.magica.answers import find_items, find_next_query


@pytest.mark.parametrize(
    "body",
    [
        [1],
        {"items": [1]},
        {"workflows": [1]},
        {"systemWorkflows": [1]},
        {"results": [1]},
        {"data": [1]},
        {"data": {"items": [1], "hasMore": False}},
        {"items": [1], "data": {}},
    ],
)
def test_the_items_are_found(body: Any) -> None:
    """The quickstart takes `items`; the rest was inferred."""
    assert find_items(body) == [1]


@pytest.mark.parametrize("body", [None, 5, "x", {}, {"items": {}}, {"data": {"data": 5}}])
def test_what_is_not_a_list_is_refused(body: Any) -> None:
    """An empty list would say that there are no workflows."""
    assert find_items(body) is None


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ([], ""),
        ({"items": []}, ""),
        ({"page": 1, "hasMore": True}, "page=2"),
        ({"page": 3, "pageSize": 50, "total": 400, "hasMore": True}, "page=4&pageSize=50"),
        ({"page": 3, "hasMore": False}, ""),
        ({"pagination": {"page": 1, "hasMore": True}}, "page=2"),
        ({"hasMore": True}, ""),
        ({"page": True, "hasMore": True}, ""),
        ({"page": 10**9, "hasMore": True}, ""),
        ({"nextCursor": "a b&c"}, "cursor=a%20b%26c"),
        ({"nextCursor": "a", "hasMore": False}, ""),
        ({"nextCursor": None}, ""),
        ({"nextCursor": ""}, ""),
        ({"nextCursor": "x" * 1001}, ""),
        ({"cursor": "a"}, ""),
        ({"cursor": "a", "hasMore": True}, "cursor=a"),
        ({"data": {"next_cursor": "a", "items": []}}, "cursor=a"),
    ],
)
def test_what_follows_is_asked_for_in_the_list_s_own_way(body: Any, query: str) -> None:
    """A cursor goes before a page; a bare `cursor` may be the one that we sent."""
    assert find_next_query(body) == query
