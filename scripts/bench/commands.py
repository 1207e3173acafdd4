"""How long the commands take that a person waits for: the help, and the list of apps while the provider is down."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from figures import Figure
from listings import build_listing
from wire import build_environment

from flowport.catalog.listing import Catalogue
from flowport.catalog.snapshots import build_cache_path, save_catalogue
from flowport.providers.registry import ProviderSettings
from flowport.store.sqlite.connection import STORE_NAME
from flowport.store.sqlite.store import open_sqlite_store

ROUNDS: Final = 20
APPS: Final = 100
CLOSED_URL: Final = "http://127.0.0.1:9"
KEY: Final = "bench-key"
LIMITS_MILLISECONDS: Final = {"--help": 150.0, "apps": 350.0}


def measure_commands() -> list[Figure]:
    """Run each command twenty times. The fastest counts: other programs of the machine only make one slower."""
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as name:
        folder = Path(name)
        configured = ProviderSettings("magnific", CLOSED_URL, KEY)
        listings = tuple(build_listing(n) for n in range(APPS))
        save_catalogue(build_cache_path(folder, configured.account), Catalogue(listings, listed_at=time.time()))
        open_sqlite_store(folder / STORE_NAME)
        given = {"FLOWPORT_HOME": name, "MAGNIFIC_BASE_URL": CLOSED_URL, "MAGNIFIC_API_KEY": KEY}
        environment = build_environment({**given, "PYTHONDONTWRITEBYTECODE": ""})
        return [_measure(word, limit, environment) for word, limit in LIMITS_MILLISECONDS.items()]


def _measure(word: str, limit: float, environment: Mapping[str, str]) -> Figure:
    command = [sys.executable, "-m", "flowport", word]
    # The first compiles bytecode and fills the disk cache.
    rounds = [_time(command, environment) for _ in range(ROUNDS + 1)][1:]
    best = min(wall for wall, _ in rounds)
    median, processor = (statistics.median(column) for column in zip(*rounds, strict=True))
    where = f", {APPS} apps on disk, the provider is down" if word == "apps" else ""
    what = f"flowport {word}{where} (median {median:.0f} ms, processor {processor:.0f} ms)"
    return Figure(what, f"{best:.0f} ms", f"{limit:.0f} ms", best <= limit)


def _time(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Return the milliseconds that a command takes, and those of the processor."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    taken, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return taken * 1000, used * 1000
