"""A whole Flowport in this process, on a provider that answers at once and a given store."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock
from urllib.parse import urlsplit

from flowport import bootstrap as assembly
from flowport.actions.tenants import Tenants
from flowport.actions.workspace import Workspace
from flowport.catalog.listing import Catalogue, Listing
from flowport.catalog.schema import build_tool
from flowport.catalog.snapshots import build_cache_path, save_catalogue
from flowport.domain.models import LOCAL_OWNER, Account, App, Input, InputKind
from flowport.domain.principal import LOCAL, Principal
from flowport.domain.spending import Consent
from flowport.providers.registry import ProviderSettings
from flowport.runs.steps import Pace
from flowport.runtime.exchange import Exchange
from flowport.server.handlers import ToolCalls
from flowport.settings.settings import Settings
from flowport.store.interface import Store
from flowport.store.process_lock import ProcessLock

TOOL_NAME: Final = "instant_picture"
QUICK: Final = Pace(first_seconds=0.001, every_seconds=0.001, spread_per_second=1_000_000)
"""Practically at once: delays would hide the cost of the store."""
NOWHERE: Final = "http://127.0.0.1:9"
_APP: Final = App(
    "magnific",
    "instant",
    "Instant picture",
    is_own=True,
    price_credits=5.0,
    inputs=(Input("i1", "prompt", InputKind.TEXT, "What it shows", is_required=True),),
    read_at=time.time(),
)


@contextmanager
def open_provider(*flags: str) -> Iterator[str]:
    """Run the provider and yield its URL."""
    command = [sys.executable, str(Path(__file__).with_name("instant_provider.py")), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield next(iter(process.stdout or ())).strip()
        finally:
            process.kill()


def save_app(home: Path, configured: ProviderSettings, host: str) -> None:
    """Save a catalogue with the measured app, as an earlier process would have left it."""
    account = Account("magnific", host, configured.fingerprint)
    tool = build_tool(_APP, tool_name=TOOL_NAME, property_names={"i1": "prompt"}, provider_title="Magnific")
    listing = Listing(_APP, TOOL_NAME, {"i1": "prompt"}, tool)
    save_catalogue(build_cache_path(home, account), Catalogue((listing,), listed_at=time.time(), style="flows"))


def build_settings(folder: Path, url: str, **changes: Any) -> Settings:
    """Return the settings of a Flowport that uses the provider, with a home that knows the measured app."""
    configured = ProviderSettings(
        "magnific", url, "bench-key", {"api_style": "flows", "file_origins": frozenset({url})}
    )
    save_app(folder, configured, urlsplit(url).netloc)
    values: dict[str, Any] = {
        "providers": (configured,),
        "home": folder,
        "output_dir": folder / "outputs",
        "file_roots": (),
        "requests_per_minute": 0,
        "should_save_outputs": False,
        "should_show_previews": False,
        **changes,
    }
    return Settings(**values)


@asynccontextmanager
async def open_workspace(folder: Path, store: Store, url: str = NOWHERE) -> AsyncIterator[Workspace]:
    """Run Flowport on a store, which is closed afterwards."""
    home = assembly.Home(store, ProcessLock(folder))
    with mock.patch.object(assembly, "open_home", return_value=home):
        async with assembly.open_assembly(build_settings(folder, url), pace=QUICK) as opened:
            yield opened.workspace


@asynccontextmanager
async def open_team(
    folder: Path, url: str, database_url: str, *, is_worker: bool = False, **changes: Any
) -> AsyncIterator[Workspace]:
    """Run a replica or a worker of the team that a database belongs to."""
    settings = build_settings(folder, url, database_url=database_url, **changes)
    async with assembly.open_assembly(settings, pace=QUICK, is_worker=is_worker) as opened:
        yield opened.workspace


@dataclass(frozen=True)
class QuietCaller:
    """A caller that ignores progress and cannot be asked."""

    arrived_at_seconds: float
    owner: str = LOCAL_OWNER
    principal: Principal = LOCAL
    connection: str = ""
    client: str = ""
    exchange: Exchange = field(default_factory=Exchange)
    is_progress_wanted: bool = False

    async def report(self, _: float, __: str) -> None:
        """Ignore a progress report."""

    async def confirm(self, _: str, __: float) -> Consent:
        """Return that there is no way to ask."""
        return Consent.CANNOT_ASK


class Client:
    """Calls tools as the server does: concurrently, but with one slot for all preparations."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._calls = ToolCalls(Tenants(workspace))

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its structured answer."""
        return (await self._calls.call(tool, arguments, QuietCaller(self._workspace.clock.monotonic()))).facts
