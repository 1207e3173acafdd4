"""MCP Apps (SEP-1865): the page that hosts show beside a run, and the tools that name it.

Only clients that declare the extension see any of it; for all others nothing changes.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import mcp.types as t

from flowport.server.clients import Context

EXTENSION: Final = "io.modelcontextprotocol/ui"
MIME_TYPE: Final = "text/html;profile=mcp-app"
PAGE_URI: Final = "ui://flowport/run.html"

_TOOL_META: Final = {"ui": {"resourceUri": PAGE_URI}}
WITHOUT_PAGE: Final = frozenset({"cancel_run", "find_apps", "get_balance", "list_runs"})
"""The tools whose answers are not about one run. By name: the first list does not load them."""

# No `csp`: the page loads nothing. It gets pictures through the host, and shows them as data URIs.
_PAGE_META: Final = {"ui": {"prefersBorder": False, "permissions": {"clipboardWrite": {}}}}

PAGE_RESOURCE: Final = t.Resource(uri=PAGE_URI, name="run", title="A run", mime_type=MIME_TYPE, _meta=_PAGE_META)


def supports_apps(context: Context) -> bool:
    """Return whether the client has declared that it shows such pages."""
    capabilities = context.session.client_capabilities
    declared = ((capabilities.extensions if capabilities else None) or {}).get(EXTENSION)
    mime_types = declared.get("mimeTypes") if isinstance(declared, Mapping) else None
    return isinstance(mime_types, list) and MIME_TYPE in mime_types


def add_page(tools: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the tools, each about a run with the page that shows its answer."""
    return [tool if tool["name"] in WITHOUT_PAGE else {**tool, "_meta": _TOOL_META} for tool in tools]


def build_page_contents() -> list[t.TextResourceContents | t.BlobResourceContents]:
    """Return the page as the protocol carries it."""
    from flowport.actions.views.page import read_page  # noqa: PLC0415 - for hosts that show it

    return [t.TextResourceContents(uri=PAGE_URI, mime_type=MIME_TYPE, text=read_page(), _meta=_PAGE_META)]
