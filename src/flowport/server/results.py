"""Tools, answers and errors as the protocol carries them: content blocks, links and structured content."""

import base64
from typing import Any, Final

import mcp.types as t

from flowport.actions.tool import BuiltInTool
from flowport.actions.views.view import Facts, View, format_facts
from flowport.domain.errors import FlowportError
from flowport.domain.models import Input, InputKind

OUR_MISTAKE: Final = "Flowport made a mistake while it handled this call; its log has the details."

# What is free in form is declared as text, and an object is taken as well: schemas hold no object without properties,
# which several clients refuse.
_TYPES: Final = {InputKind.NUMBER: "integer", InputKind.BOOLEAN: "boolean"}


def build_result(view: View, *, with_links: bool = True) -> t.CallToolResult:
    """Return the result of a tool call, with the facts twice: some clients show the text, some the structured content.

    Args:
        with_links: Whether each output has a link; every address is in the facts as well.
    """
    links = [
        t.ResourceLink(
            uri=link.uri, name=link.name, title=link.title, mime_type=link.mime_type or None, size=link.size_bytes
        )
        for link in view.links
        if with_links
    ]
    # A model has the facts; pixels are for the person, and clients that ask for whom it is need not pay tokens for them.
    images = [
        t.ImageContent(
            data=base64.b64encode(preview.data).decode("ascii"),
            mime_type=preview.mime_type,
            annotations=t.Annotations(audience=["user"]),
        )
        for preview in view.previews
    ]
    return _build(view.facts, *links, *images, is_error=view.is_error)


def build_error_result(error: FlowportError) -> t.CallToolResult:
    """Return the result for an error that the model, or the person behind it, can act on."""
    return _build({"error": type(error).__name__, "message": str(error)}, is_error=True)


def build_mistake_result() -> t.CallToolResult:
    """Return the result for an internal error; the log has the details."""
    return _build({"error": "InternalError", "message": OUR_MISTAKE}, is_error=True)


def _build(facts: Facts, *blocks: t.ContentBlock, is_error: bool) -> t.CallToolResult:
    content = [t.TextContent(text=format_facts(facts)), *blocks]
    return t.CallToolResult(content=content, structured_content=facts, is_error=is_error)


def build_wire_tool(tool: BuiltInTool) -> dict[str, Any]:
    """Return a built-in tool as it goes over the wire."""
    schema: dict[str, Any] = {"type": "object", "properties": {item.id: _build_property(item) for item in tool.inputs}}
    required = [item.id for item in tool.inputs if item.is_required]
    if required:
        schema["required"] = required
    annotations = {"readOnlyHint": True} if tool.is_read_only else {"destructiveHint": False}
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": schema,
        "annotations": annotations,
    }


def _build_property(item: Input) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES.get(item.kind, "string"), "description": item.label}
    if item.is_list:
        schema = {"type": "array", "items": {"type": schema["type"]}, "description": item.label}
    if item.options:
        schema["enum"] = [option.value for option in item.options]
    bounds = {"minimum": item.minimum, "maximum": item.maximum}
    schema |= {word: bound for word, bound in bounds.items() if bound is not None}
    return schema
