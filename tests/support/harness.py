"""A complete Flowport in this process: a real sandbox over HTTP, a real store, and an MCP client in memory."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import mcp.types as t
from mcp import Client
from mcp.client.session import ElicitationFnT
from mcp.server.context import CallNext, HandlerResult

from flowport.bootstrap import Assembly, open_assembly
from flowport.domain.models import LOCAL_OWNER
from flowport.domain.principal import LOCAL, Principal
from flowport.domain.spending import Consent
from flowport.providers.registry import ProviderSettings
from flowport.runs.steps import Pace
from flowport.runtime.clock import Clock
from flowport.runtime.exchange import Exchange
from flowport.server.clients import Context
from flowport.server.handlers import build_server
from flowport.server.server import FlowportServer
from flowport.settings.settings import Settings
from tests.fakes.client import KEY
from tests.fakes.client import Client as SandboxClient
from tests.support.patience import PATIENCE_SECONDS

Mode = Literal["auto", "legacy"]
MODES: tuple[Mode, ...] = ("auto", "legacy")
"""The protocol's two eras, as the SDK's client calls them."""


async def _drop_report(_: float, __: str) -> None:
    """Ignore a progress report."""


@dataclass(frozen=True)
class ScriptedCaller:
    """A caller in this process, whose reports a test reads and who cannot be asked."""

    arrived_at_seconds: float = 0.0
    send: Callable[[float, str], Awaitable[None]] = _drop_report
    owner: str = LOCAL_OWNER
    principal: Principal = LOCAL
    connection: str = ""
    client: str = ""
    exchange: Exchange = field(default_factory=Exchange)
    is_progress_wanted: bool = True

    async def report(self, elapsed_seconds: float, message: str) -> None:
        """Hand a report to the test."""
        await self.send(elapsed_seconds, message)

    async def confirm(self, _: str, __: float) -> Consent:
        """Return that there is no way to ask."""
        return Consent.CANNOT_ASK


READER = ScriptedCaller()
"""A caller that ignores progress."""

QUICK = Pace(first_seconds=0.01, every_seconds=0.02)
"""Polls at once, because the sandbox's runs take no time."""


@dataclass
class Harness:
    """What an interaction test uses."""

    client: Client
    sandbox: SandboxClient
    assembly: Assembly
    server: FlowportServer
    outputs: Path
    progress: list[tuple[float, str]] = field(default_factory=list)

    async def call(self, tool: str, /, **arguments: Any) -> t.CallToolResult:
        """Call a tool and collect its progress."""

        async def note(progress: float, total: float | None, message: str | None) -> None:
            """Keep one notification."""
            assert total is None
            self.progress.append((progress, message or ""))

        return await self.client.call_tool(tool, arguments, progress_callback=note)

    async def ask(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return the facts of its answer."""
        facts = (await self.call(tool, **arguments)).structured_content
        assert isinstance(facts, dict)
        return facts

    async def count(self, operation: str) -> int:
        """Return how many requests of a kind the sandbox received."""
        counts = (await self.sandbox.http.get("/_sandbox/counts")).json()
        return int(counts[operation])


def build_settings(folder: Path, url: str, *, file_origins: tuple[str, ...] = (), **changes: Any) -> Settings:
    """Return settings below a folder for an API, without a request limit."""
    folder.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "providers": (ProviderSettings("magnific", url, KEY, {"file_origins": frozenset(file_origins)}),),
        "home": folder / "home",
        "output_dir": folder / "outputs",
        "file_roots": (folder,),
        "wait_seconds": PATIENCE_SECONDS,
        "requests_per_minute": 0,
    }
    return Settings(**{**values, **changes})


async def report_written(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Report that an answer was written or its client disconnected, as the other transports do."""
    if ctx.request is not None:  # another transport, which reports itself
        return await call_next(ctx)
    exchange = Exchange(ctx.request_id)
    try:
        result = await call_next(replace(ctx, request=exchange))
    except BaseException:
        exchange.note_disconnected()
        raise
    exchange.note_written()
    return result


@asynccontextmanager
async def open_harness(
    sandbox: SandboxClient,
    folder: Path,
    *,
    mode: Mode = "auto",
    pace: Pace = QUICK,
    ask_person: ElicitationFnT | None = None,
    clock: Clock | None = None,
    **changes: Any,
) -> AsyncIterator[Harness]:
    """Run Flowport on a sandbox, with a client of an era; it supports elicitation only if `ask_person` is given."""
    addresses = sandbox.addresses
    settings = build_settings(folder, addresses.api_url, file_origins=(addresses.files_url,), **changes)
    async with open_assembly(settings, clock=clock, pace=pace) as assembly:
        server = build_server(assembly.tenants, assembly.file_threads, assembly.first_list)
        server.middleware.insert(0, report_written)
        async with Client(server, mode=mode, elicitation_callback=ask_person) as client:
            yield Harness(client, sandbox, assembly, server, settings.output_dir)
