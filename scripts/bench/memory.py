"""The memory that outputs take: while they are saved, previewed in an answer, and read as resources.

The peak of the real process is read from the operating system, in excess of its memory after a first small picture, which
loads every library. Memory that earlier cases left allocated counts too.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from figures import Figure
from file_provider import LARGE_BYTES, LARGE_NAME, TOOL_NAME, open_file_provider
from PIL import Image
from wire import Conversation, build_environment, exchange, greet

MAX_STREAMING_MB: Final = 16
MAX_SHOWING_MB: Final = 120
SMALL_NAME: Final = "small.png"


def _build_gradient(edge: int) -> Image.Image:
    return Image.radial_gradient("L").resize((edge, edge)).convert("RGB")


def _build_noise(edge: int) -> Image.Image:
    return Image.effect_noise((edge, edge), 100).convert("RGB")


PICTURES: Final[dict[str, tuple[Callable[[], Image.Image], dict[str, Any]]]] = {
    SMALL_NAME: (lambda: _build_gradient(900), {}),
    "80-megapixels.png": (lambda: _build_gradient(8944), {"compress_level": 1}),
    "25-megapixels.png": (lambda: _build_gradient(5000), {"compress_level": 1}),
    "79-megapixels.jpg": (lambda: _build_gradient(8900), {}),
    "progressive.jpg": (lambda: _build_gradient(3900), {"progressive": True, "subsampling": 0}),
    "5-megapixels.webp": (lambda: _build_gradient(2280), {"method": 0}),
    "5-megapixels.avif": (lambda: _build_gradient(2280), {"speed": 10}),
    "11-megapixels.gif": (lambda: _build_gradient(3390).quantize(256), {}),
    "12-megabytes.png": (lambda: _build_noise(2000), {"compress_level": 0}),
    "8-megabytes.png": (lambda: _build_noise(1665), {"compress_level": 0}),
}
"""The largest that each format is decoded at, one too large to decode, and the largest that is returned unchanged."""

SHOWN: Final = [name for name in PICTURES if name != SMALL_NAME]
SEVERAL: Final = [SHOWN[1], SHOWN[2], SHOWN[4], SHOWN[-1]]


def measure_memory() -> list[Figure]:
    """Save half a gigabyte, then show and read pictures of every format one after the other, then several at once."""
    if not Path("/proc/self/status").exists():
        print("memory is not measured: this system does not report the peak of a process")
        return []
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as name, open_file_provider(Path(name)) as api_url:
        folder = Path(name)
        for picture, (build, options) in PICTURES.items():
            build().save(folder / picture, **options)
        with open_flowport(folder / "streaming", api_url) as measured:
            streamed = measured.get_added_mb(lambda: run_app(measured, LARGE_NAME))
        with open_flowport(folder / "showing", api_url) as measured:
            return [
                build_figure(f"saving an output of {LARGE_BYTES // 1024**2} MB", streamed, MAX_STREAMING_MB),
                *(measure_showing(measured, picture) for picture in SHOWN),
                *measure_several(measured),
            ]


class Measured:
    """A Flowport whose memory is measured."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Start the session; the present memory is the base of the measurement."""
        self.conversation = Conversation(process)
        self._folder = Path(f"/proc/{process.pid}")
        self._before = self._read("VmRSS")

    def ask(self, method: str, params: dict[str, Any]) -> bytes:
        """Send a request and return the line of its answer."""
        return self.conversation.wait_for(self.conversation.ask(method, params))[1]

    def ask_together(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Send all requests at once and wait for every answer."""
        for number in [self.conversation.ask(method, params) for method, params in requests]:
            self.conversation.wait_for(number)

    def get_added_mb(self, work: Callable[[], object]) -> float:
        """Return how much the peak memory exceeded the base during some work."""
        (self._folder / "clear_refs").write_text("5")  # proc(5): resets the peak
        work()
        return (self._read("VmHWM") - self._before) / 1024

    def _read(self, field: str) -> int:
        status = (self._folder / "status").read_text(encoding="ascii")
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"the system does not report {field}")
        return int(found[1])


@contextmanager
def open_flowport(folder: Path, api_url: str) -> Iterator[Measured]:
    """Run Flowport, let it show a small picture and begin to measure."""
    environment = build_environment(
        {
            "FLOWPORT_HOME": f"{folder}/home",
            "FLOWPORT_OUTPUT_DIR": f"{folder}/outputs",
            "FLOWPORT_REQUESTS_PER_MINUTE": "0",
            "FLOWPORT_WAIT_SECONDS": "120",
            "MAGNIFIC_API_KEY": "bench-key",
            "MAGNIFIC_BASE_URL": api_url,
            "MAGNIFIC_FILE_ORIGINS": api_url,
        }
    )
    command = [sys.executable, "-m", "flowport"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        greet(process)
        call = {"name": TOOL_NAME, "arguments": {"names": SMALL_NAME}}
        exchange(process, "tools/call", call, number=2)
        yield Measured(process)
        process.stdin.close()  # type: ignore[union-attr]  # both pipes are open
        process.wait(timeout=10)


def run_app(measured: Measured, names: str) -> str:
    """Have outputs of these names made, saved and shown; return the resource of the first one."""
    line = measured.ask("tools/call", {"name": TOOL_NAME, "arguments": {"names": names}})
    found = re.search(rb'"structuredContent":.*?"saved_path":.*?"resource":"(flowport://[^"]+/outputs/1)"', line)
    if found is None:
        raise RuntimeError(f"a run went wrong: {line[:2000]!r}")
    return found[1].decode()


def measure_showing(measured: Measured, picture: str) -> Figure:
    """Return the line for a picture that is saved, shown and read."""
    added = measured.get_added_mb(lambda: measured.ask("resources/read", {"uri": run_app(measured, picture)}))
    return build_figure(f"{picture}: saved, previewed and read as a resource", added, MAX_SHOWING_MB)


def measure_several(measured: Measured) -> list[Figure]:
    """Return the lines for several at once: runs, reads, and both together, for which nothing is promised."""
    uri = run_app(measured, "8-megabytes.png")
    runs = [("tools/call", {"name": TOOL_NAME, "arguments": {"names": "+".join(SEVERAL)}})] * 4
    reads = [("resources/read", {"uri": uri})] * 4

    def ask_all(requests: Sequence[tuple[str, dict[str, Any]]]) -> float:
        return measured.get_added_mb(lambda: measured.ask_together(requests))

    what, mixed = f"four runs of {len(SEVERAL)} such pictures", ask_all([*runs, *reads])
    return [
        build_figure(f"{what} at once", ask_all(runs), MAX_SHOWING_MB),
        build_figure("four reads of 8 MB at once", ask_all(reads), MAX_SHOWING_MB),
        Figure("  for comparison: all of these at once", f"{mixed:.0f} MB", "", is_reached=True),
    ]


def build_figure(what: str, added_mb: float, limit_mb: int) -> Figure:
    """Return the line for one measurement."""
    return Figure(f"added memory: {what}", f"{added_mb:.0f} MB", f"{limit_mb} MB", added_mb <= limit_mb)
