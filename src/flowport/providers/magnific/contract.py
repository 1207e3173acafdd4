"""The documented answers of Magnific's lists and definitions: "Magnific API" 1.0.0, `list-flows`, `list-my-flows`, `get-flow`."""

from typing import Final

from flowport.providers.contract import DocumentedAnswers, Shape

_METADATA: Final[Shape] = {
    "icon": "text",
    "description_key": ("text", None),
    "translation_key": ("text", None),
    "category": "text",
    "sort_order": "number",
    "total_cost": "number",
}
_INPUT: Final[Shape] = {
    "id!": "text",
    "api_key": "text",
    # The schema requires it; its own text says that it may be absent.
    "key": "text",
    "type!": frozenset({"creation", "text", "number", "select"}),
    "label": "text",
    # "May contain options", whose shape is not published.
    "config": ({"mediaType": frozenset({"image", "video", "audio"})}, None),
    "nodeId": "text",
    "default": "anything",
    "required!": "boolean",
    "presentation": ({"mode": "text", "type": "text"}, None),
}
_FLOW: Final[Shape] = {"sqid!": "text", "name!": "text", "inputs!": [_INPUT], "tool_metadata": _METADATA}

DOCUMENTED: Final = DocumentedAnswers(
    own_list={"data!": [{"sqid": "text", "name": "text"}]},
    published_list={"data!": [{"sqid": "text", "name": "text", "tool_metadata": _METADATA}]},
    definition={"data!": _FLOW},
)
