"""The answers of Magica's lists and definitions. Its pages have `items` alone; the rest is what clients of the service infer."""

from typing import Any, Final

from flowport.providers.contract import DocumentedAnswers, Shape

_PAGE: Final[dict[str, Shape]] = {"page": "number", "pageSize": "number", "total": "number", "hasMore": "boolean"}
_ITEM: Final[dict[str, Shape]] = {"name!": "text", "updatedAt": "text", "thumbnailUrl": ("text", None)}
_FIELD: Final[Shape] = {
    "id!": "text",
    "name!": "text",
    "type!": frozenset({"text", "number", "boolean", "image", "audio", "video", "media", "file"}),
    "value": "anything",
}


def _choose_node(node: Any) -> Shape:
    """Return the shape of a node; what the others have in `data` are a model's settings, and no input."""
    is_request = isinstance(node, dict) and "request" in {node.get("type"), node.get("nodeType")}
    return {"id!": "text", "type!": "text", "data": {"fields!": [_FIELD]} if is_request else "anything"}


_GRAPH: Final[Shape] = {**_ITEM, "id": "text", "slug": "text", "nodes!": [_choose_node], "edges": "anything"}

DOCUMENTED: Final = DocumentedAnswers(
    own_list={**_PAGE, "items!": [{**_ITEM, "id!": "text"}]},
    published_list={**_PAGE, "items!": [{**_ITEM, "slug!": "text"}]},
    definition=_GRAPH,
)
