"""Measure what the project promises about speed and size. Ratios within one run, so that any machine will do."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowport.catalog.cache import build_cache_path, save_catalogue
from flowport.catalog.records import Catalogue, Listing
from flowport.model import Account, App, Input, InputKind, Option
from flowport.naming import build_property_names, build_tool_name
from flowport.schema import build_tool
from flowport.settings import ProviderSettings
from flowport.standing_tools import STANDING_TOOLS, build_wire_tool

ROUNDS = 15
MAX_START_RATIO = 1.25
MAX_TOOL_BYTES = 750
MAX_LIST_BYTES = 36 * 1024
CLOSED_URL = "http://127.0.0.1:9"
KEY = "bench-key"

BARE_SERVER = """
import anyio
import mcp.types as t
from mcp.server import Server
from mcp.server.stdio import stdio_server
from tools import TOOLS

async def list_tools(context, params):
    return {"resultType": "complete", "tools": TOOLS}

async def main():
    server = Server("bare", version="1")
    server.add_request_handler("tools/list", t.PaginatedRequestParams, list_tools)
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())

anyio.run(main)
"""


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    measured: str
    limit: str
    is_reached: bool


def main() -> int:
    """Print the table; the exit code is 1 when a figure is missed."""
    figures = [*measure_starts(), *measure_sizes()]
    print(f"\n{'what':72} {'measured':>12} {'reach':>10}")
    for figure in figures:
        mark = "" if figure.is_reached else "  MISSED"
        print(f"{figure.what:72} {figure.measured:>12} {figure.limit:>10}{mark}")
    return 0 if all(figure.is_reached for figure in figures) else 1


def measure_starts() -> list[Figure]:
    """Compare spawn to complete tool list with a bare server: warm cache, provider down."""
    figures = []
    for count in (100, 1000):
        with tempfile.TemporaryDirectory(prefix="flowport-bench-") as folder:
            ratio, ours, bare = measure_start(Path(folder), count)
        what = f"spawn to tools/list, {count} apps, provider down ({ours:.0f} ms; bare {bare:.0f} ms)"
        figures.append(Figure(what, f"{ratio:.2f} x", "1.25 x", ratio <= MAX_START_RATIO))
    return figures


def measure_start(folder: Path, count: int) -> tuple[float, float, float]:
    """Return the ratio of the medians, and both medians in milliseconds; the two take turns."""
    listings = [build_listing(n) for n in range(count)]
    configured = ProviderSettings("magnific", CLOSED_URL, KEY)
    account = Account("magnific", "127.0.0.1:9", configured.fingerprint)
    save_catalogue(build_cache_path(folder, account), Catalogue(tuple(listings), listed_at=time.time()))
    tools = [build_wire_tool(tool) for tool in STANDING_TOOLS.values()] + [listing.tool for listing in listings]
    (folder / "tools.py").write_text(f"TOOLS = {tools!r}\n", encoding="utf-8")
    (folder / "bare.py").write_text(BARE_SERVER, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLOWPORT_", "MAGNIFIC_"))}
    ours_environment = {
        **kept,
        "FLOWPORT_HOME": str(folder),
        "FLOWPORT_MAX_TOOLS": "1000",
        "MAGNIFIC_BASE_URL": CLOSED_URL,
        "MAGNIFIC_API_KEY": KEY,
    }
    ours, bare = [], []
    for _ in range(ROUNDS + 1):
        bare.append(time_start([sys.executable, str(folder / "bare.py")], kept, expected=len(tools)))
        ours.append(time_start([sys.executable, "-m", "flowport"], ours_environment, expected=len(tools)))
    # The first of each compiles bytecode and fills the disk cache.
    ours_median, bare_median = statistics.median(ours[1:]), statistics.median(bare[1:])
    return ours_median / bare_median, ours_median, bare_median


def time_start(command: Sequence[str], environment: dict[str, str], *, expected: int) -> float:
    """Return the milliseconds from spawning a server to its whole tool list."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        exchange(process, "initialize", hello, number=1)
        send(process, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        listed = exchange(process, "tools/list", {}, number=2)
        taken = time.perf_counter() - began
        process.stdin.close()  # type: ignore[union-attr]  # both pipes were asked for
        process.wait(timeout=10)
    if len(listed["tools"]) != expected:
        raise RuntimeError(f"{len(listed['tools'])} tools were listed instead of {expected}")
    return taken * 1000


def exchange(process: subprocess.Popen[bytes], method: str, params: dict[str, Any], *, number: int) -> dict[str, Any]:
    """Send a request and return the result of its answer."""
    send(process, {"jsonrpc": "2.0", "id": number, "method": method, "params": params})
    for line in process.stdout or ():
        message = json.loads(line)
        if message.get("id") == number:
            result: dict[str, Any] = message["result"]
            return result
    raise RuntimeError(f"no answer to {method}")


def send(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    """Write one message."""
    if process.stdin is None:
        raise RuntimeError("the server has no standard input")
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def measure_sizes() -> list[Figure]:
    """Measure the tools as clients get them."""
    one = count_bytes(build_listing(0).tool)
    helpers = [build_wire_tool(tool) for tool in STANDING_TOOLS.values()]
    whole = count_bytes({"tools": helpers + [build_listing(n).tool for n in range(40)]})
    return [
        Figure(
            "the tool of an app with four inputs whose labels are 45 characters long",
            f"{one} B",
            "750 B",
            one <= MAX_TOOL_BYTES,
        ),
        Figure("40 such tools and the six standing ones", f"{whole} B", "36 KB", whole <= MAX_LIST_BYTES),
        Figure("  of which the six standing ones", f"{count_bytes(helpers)} B", "", is_reached=True),
    ]


def count_bytes(value: Any) -> int:
    """Return the size on the wire."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def build_listing(n: int) -> Listing:
    """Return an app like those that people build: a picture, a text, a number and a choice."""
    labels = [
        "The photograph that the picture is made from.",
        "What the finished picture is supposed to show",
        "How much of the photograph shall still remain",
        "The style in which the picture shall be drawn",
    ]
    inputs = (
        Input("i1", "image", InputKind.IMAGE, labels[0], is_required=True),
        Input("i2", "prompt", InputKind.TEXT, labels[1], is_required=True),
        Input("i3", "strength", InputKind.NUMBER, labels[2], is_required=False, default=0.5),
        Input(
            "i4",
            "style",
            InputKind.SELECT,
            labels[3],
            is_required=False,
            options=tuple(Option(value, value.title()) for value in ("photo", "ink", "watercolour")),
        ),
    )
    app = App("magnific", f"app{n:04}", f"Sketch to Realism {n}", is_own=False, price_credits=5, inputs=inputs)
    name = build_tool_name(app.name, app.id, taken=())
    names = build_property_names(inputs)
    return Listing(app, name, names, build_tool(app, tool_name=name, property_names=names, provider_title="Magnific"))


if __name__ == "__main__":
    sys.exit(main())
