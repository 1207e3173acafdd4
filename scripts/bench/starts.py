"""How long it takes from spawning Flowport to its whole tool list, against the barest server on the same library."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from figures import Figure
from listings import build_listing
from wire import build_environment, exchange, greet

from flowport.actions.built_in_tools import BUILT_IN_TOOLS
from flowport.catalog.listing import Catalogue
from flowport.catalog.snapshots import build_cache_path, save_catalogue
from flowport.domain.models import Account
from flowport.providers.registry import ProviderSettings
from flowport.server.results import build_wire_tool

ROUNDS: Final = 15
MAX_START_RATIO: Final = 1.25
CLOSED_URL: Final = "http://127.0.0.1:9"
KEY: Final = "bench-key"

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


def measure_starts() -> list[Figure]:
    """Compare spawn to complete tool list with a bare server: warm cache, provider down."""
    figures = []
    for provider, count in (("magnific", 100), ("magnific", 1000), ("magica", 500)):
        with tempfile.TemporaryDirectory(prefix="flowport-bench-") as folder:
            ratio, ours, bare = measure_start(Path(folder), provider, count)
        what = f"spawn to tools/list, {count} apps of {provider}, it is down ({ours:.0f} ms; bare {bare:.0f} ms)"
        figures.append(Figure(what, f"{ratio:.2f} x", "1.25 x", ratio <= MAX_START_RATIO))
    return figures


def measure_start(folder: Path, provider: str, count: int) -> tuple[float, float, float]:
    """Return the ratio of the medians, and both medians in milliseconds; the two take turns."""
    listings = [build_listing(n) for n in range(count)]
    configured = ProviderSettings(provider, CLOSED_URL, KEY)
    account = Account(provider, "127.0.0.1:9", configured.fingerprint)
    save_catalogue(build_cache_path(folder, account), Catalogue(tuple(listings), listed_at=time.time()))
    tools = [build_wire_tool(tool) for tool in BUILT_IN_TOOLS.values()] + [listing.tool for listing in listings]
    (folder / "tools.py").write_text(f"TOOLS = {tools!r}\n", encoding="utf-8")
    (folder / "bare.py").write_text(BARE_SERVER, encoding="utf-8")
    kept = build_environment({})
    ours_environment = build_environment(
        {
            "FLOWPORT_HOME": str(folder),
            "FLOWPORT_MAX_TOOLS": "1000",
            f"{provider.upper()}_BASE_URL": CLOSED_URL,
            f"{provider.upper()}_API_KEY": KEY,
        }
    )
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
        greet(process)
        listed = exchange(process, "tools/list", {}, number=2)
        taken = time.perf_counter() - began
        process.stdin.close()  # type: ignore[union-attr]  # both pipes were asked for
        process.wait(timeout=10)
    if len(listed["tools"]) != expected:
        raise RuntimeError(f"{len(listed['tools'])} tools were listed instead of {expected}")
    return taken * 1000
