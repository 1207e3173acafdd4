"""Compare Flowport with the smallest server on the same library: CPU and wall time from spawn to the whole tool list."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from figures import Figure
from listings import build_listing
from wire import build_environment, exchange, get_exact_cpu_seconds, greet

from flowport.actions.built_in_tools import BUILT_IN_TOOLS
from flowport.catalog.listing import Catalogue
from flowport.catalog.snapshots import build_cache_path, save_catalogue
from flowport.domain.models import Account
from flowport.providers.registry import ProviderSettings
from flowport.server.results import build_wire_tool

PAIRS: Final = 20
END_SECONDS: Final = 60.0
MAX_PINGS: Final = 10_000
MAX_RATIOS: Final = {100: 1.12, 1000: 1.05}
"""The largest ratio of the medians, CPU and wall alike, by the number of apps."""
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


@dataclass(frozen=True)
class Start:
    """The cost of one start, in milliseconds."""

    cpu: float
    wall: float


def measure_starts(pairs: int = PAIRS) -> list[Figure]:
    """Start both servers in turns, with a warm cache, while the provider is down: about three minutes for 20 pairs."""
    figures = []
    for count, limit in MAX_RATIOS.items():
        with tempfile.TemporaryDirectory(prefix="flowport-bench-") as folder:
            ours, bare = measure_pairs(Path(folder), count, pairs)
        for what, our, other in (("CPU", ours.cpu, bare.cpu), ("wall time", ours.wall, bare.wall)):
            text = f"{what} from spawn to tools/list, {count} apps, provider down ({our:.0f} ms; bare {other:.0f} ms)"
            figures.append(Figure(text, f"{our / other:.2f} x", f"{limit} x", our / other <= limit))
    return figures


def measure_pairs(folder: Path, count: int, pairs: int) -> tuple[Start, Start]:
    """Return the medians of Flowport and of the bare server."""
    listings = [build_listing(n) for n in range(count)]
    configured = ProviderSettings("magnific", CLOSED_URL, KEY)
    account = Account("magnific", "127.0.0.1:9", configured.fingerprint)
    save_catalogue(build_cache_path(folder, account), Catalogue(tuple(listings), listed_at=time.time()))
    tools = [build_wire_tool(tool) for tool in BUILT_IN_TOOLS.values()] + [listing.tool for listing in listings]
    (folder / "tools.py").write_text(f"TOOLS = {tools!r}\n", encoding="utf-8")
    (folder / "bare.py").write_text(BARE_SERVER, encoding="utf-8")
    environment = build_environment(
        {
            "FLOWPORT_HOME": str(folder),
            "FLOWPORT_MAX_TOOLS": "1000",
            "MAGNIFIC_BASE_URL": CLOSED_URL,
            "MAGNIFIC_API_KEY": KEY,
        }
    )
    command, bare_command = [sys.executable, "-m", "flowport"], [sys.executable, str(folder / "bare.py")]
    # The first start of each compiles bytecode and fills the disk cache; ours saves its list for the next one.
    warm_up(command, environment, folder)
    time_start(bare_command, build_environment({}), expected=len(tools))
    ours, bare = list[Start](), list[Start]()
    for _ in range(pairs):
        bare.append(time_start(bare_command, build_environment({}), expected=len(tools)))
        ours.append(time_start(command, environment, expected=len(tools)))
    return get_median(ours), get_median(bare)


def warm_up(command: Sequence[str], environment: dict[str, str], folder: Path) -> None:
    """Start Flowport and stay until it has saved its list."""
    with open_server(command, environment) as process:
        greet(process)
        exchange(process, "tools/list", {}, number=2)
        for number in range(3, MAX_PINGS):
            if any((folder / "catalogue").glob("tools-*.json")):
                break
            exchange(process, "ping", {}, number=number)
        else:
            raise RuntimeError("the list was not saved")


@contextmanager
def open_server(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server and end it as a client does; one that does not end is killed."""
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
            process.stdin.close()  # type: ignore[union-attr]  # both pipes were asked for
            process.wait(timeout=END_SECONDS)
        finally:
            process.kill()


def get_median(starts: Sequence[Start]) -> Start:
    """Return the median of each cost."""
    return Start(statistics.median(one.cpu for one in starts), statistics.median(one.wall for one in starts))


def time_start(command: Sequence[str], environment: dict[str, str], *, expected: int) -> Start:
    """Start a server, read its whole tool list, and return what that took."""
    began = time.perf_counter()
    with open_server(command, environment) as process:
        greet(process)
        listed = exchange(process, "tools/list", {}, number=2)
        start = Start(get_exact_cpu_seconds(process.pid) * 1000, (time.perf_counter() - began) * 1000)
    if len(listed["tools"]) != expected:
        raise RuntimeError(f"{len(listed['tools'])} tools were listed instead of {expected}")
    return start
