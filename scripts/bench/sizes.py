"""The part of a model's context that the tool list takes."""

import json
from typing import Any, Final

from figures import Figure
from listings import build_listing

from flowport.actions.built_in_tools import BUILT_IN_TOOLS
from flowport.server.results import build_wire_tool

MAX_TOOL_BYTES: Final = 750
MAX_LIST_BYTES: Final = 36 * 1024


def measure_sizes() -> list[Figure]:
    """Measure the tools as clients get them."""
    one = count_bytes(build_listing(0).tool)
    helpers = [build_wire_tool(tool) for tool in BUILT_IN_TOOLS.values()]
    whole = count_bytes({"tools": helpers + [build_listing(n).tool for n in range(40)]})
    return [
        Figure(
            "the tool of an app with four inputs whose labels are 45 characters long",
            f"{one} B",
            "750 B",
            one <= MAX_TOOL_BYTES,
        ),
        Figure("40 such tools and the seven standing ones", f"{whole} B", "36 KB", whole <= MAX_LIST_BYTES),
        Figure("  of which the seven standing ones", f"{count_bytes(helpers)} B", "", is_reached=True),
    ]


def count_bytes(value: Any) -> int:
    """Return the size on the wire."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
