"""The providers as the contract suite sees them: how each is reached, and the few things in which they may differ."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel

from flowport.domain.models import Run
from flowport.providers.registry import ProviderSettings
from tests.fakes.client import KEY
from tests.fakes.client import Client as SandboxClient
from tests.fakes.magica.client import MAGICA_KEY
from tests.support.harness import Harness, open_harness


@dataclass(frozen=True)
class ProviderWorld:
    """One provider on its face of the sandbox."""

    name: str
    title: str
    prefix: str
    """Of its face, below the sandbox's address."""
    key: str
    can_cancel: bool
    reports_balance: bool
    photo: str
    """What the argument for a picture is called in its tools."""
    many_looks_switch: tuple[str, Mapping[str, Any]] | None = None
    """The address of the face's switch, and what it is set to, by which one request reports of several runs; None where none does."""

    @property
    def reads_many(self) -> bool:
        """Whether one request reports of several runs, where the provider has it."""
        return self.many_looks_switch is not None

    async def turn_on_many_looks(self, sandbox: SandboxClient) -> None:
        """Let the sandbox have what the provider may not have."""
        assert self.many_looks_switch is not None
        path, change = self.many_looks_switch
        (await sandbox.http.post(path, json=change)).raise_for_status()

    def build_settings(self, sandbox: SandboxClient, key: str = "") -> ProviderSettings:
        """Return how Flowport is reported it."""
        addresses = sandbox.addresses
        url = f"{addresses.api_url}{self.prefix}"
        return ProviderSettings(self.name, url, key or self.key, {"file_origins": frozenset({addresses.files_url})})

    @asynccontextmanager
    async def open(
        self, sandbox: SandboxClient, folder: Path, *, key: str = "", **changes: Any
    ) -> AsyncIterator[Harness]:
        """Run Flowport on it alone."""
        providers = (self.build_settings(sandbox, key),)
        async with open_harness(sandbox, folder, providers=providers, **changes) as harness:
            yield harness


WORLDS: Final = (
    ProviderWorld("magnific", "Magnific", "", KEY, can_cancel=False, reports_balance=False, photo="photo"),
    ProviderWorld(
        "magica",
        "Magica",
        "/magica",
        MAGICA_KEY,
        can_cancel=True,
        reports_balance=True,
        photo="your_photo",
        many_looks_switch=("/magica/_sandbox/magica", {"has_batch": True}),
    ),
)
"""A provider that is added is added here, and has its face in the sandbox."""


async def get_run(harness: Harness, run_id: str) -> Run:
    """Return a run as the store has it."""
    return await harness.assembly.workspace.store.get_run(run_id, account_id=None, owner="local")


async def wait_until_there(harness: Harness, run_id: str) -> Run:
    """Return a run once its provider has it; on a busy machine a call may be answered before."""
    with anyio.fail_after(60):
        while not (run := await get_run(harness, run_id)).state.is_at_provider:
            await anyio.lowlevel.checkpoint()
    return run
