"""A team in this process: replicas with a client each and workers, on one PostgreSQL database and one sandbox."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from flowport.bootstrap import Assembly, open_assembly
from flowport.domain.models import Run, RunState
from tests.fakes.client import KEY
from tests.fakes.client import Client as SandboxClient
from tests.support.children import CONDITIONS, ROOT
from tests.support.harness import QUICK, Harness, build_settings, open_harness


@dataclass
class LocalTeam:
    """What the members of a team share."""

    sandbox: SandboxClient
    folder: Path
    changes: Mapping[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def open_replica(self, **changes: Any) -> AsyncIterator[Harness]:
        """Run a replica, which accepts runs and carries none out."""
        async with open_harness(self.sandbox, self.folder, **{**self.changes, **changes}) as replica:
            yield replica

    @asynccontextmanager
    async def open_worker(self, **changes: Any) -> AsyncIterator[Assembly]:
        """Run a worker; leaving ends it as a signal does."""
        addresses = self.sandbox.addresses
        settings = build_settings(
            self.folder, addresses.api_url, file_origins=(addresses.files_url,), **{**self.changes, **changes}
        )
        async with open_assembly(settings, pace=QUICK, is_worker=True) as worker:
            yield worker

    def start_worker(self, conditions: str = "") -> subprocess.Popen[bytes]:
        """Start a worker as a process of its own, under the conditions of `tests.crash.child`."""
        addresses = self.sandbox.addresses
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FLOWPORT_", "MAGNIFIC_"))},
            "PYTHONPATH": str(ROOT),
            CONDITIONS: conditions,
            "FLOWPORT_DATABASE_URL": self.changes["database_url"],
            "FLOWPORT_HOME": str(self.folder / "home"),
            "FLOWPORT_OUTPUT_DIR": str(self.folder / "outputs"),
            "FLOWPORT_FILE_ROOTS": str(self.folder),
            "FLOWPORT_REQUESTS_PER_MINUTE": "0",
            "MAGNIFIC_API_KEY": KEY,
            "MAGNIFIC_BASE_URL": addresses.api_url,
            "MAGNIFIC_FILE_ORIGINS": addresses.files_url,
        }
        with (self.folder / "worker.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.crash.child", "worker"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def count(self, operation: str) -> int:
        """Return how many requests of a kind the provider received."""
        counts = (await self.sandbox.http.get("/_sandbox/counts")).json()
        return int(counts[operation])

    async def wait_for_requests(self, operation: str, count: int) -> None:
        """Wait until the provider has received so many requests of a kind."""

        async def has_come() -> bool:
            return await self.count(operation) >= count

        await wait_for(has_come)


async def wait_for(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds that other processes bring about; fail after a minute."""
    with anyio.fail_after(60):
        while not await condition():  # noqa: ASYNC110 - no event of this process says so
            await anyio.sleep(0.01)


async def get_kept(member: Harness | Assembly, run_id: str) -> Run:
    """Return a run as the store has it."""
    assembly = member.assembly if isinstance(member, Harness) else member
    return await assembly.workspace.store.get_run_of_any_owner(run_id)


async def wait_until_dead(process: subprocess.Popen[bytes]) -> int:
    """Wait until a process has ended, and return its exit code."""

    async def has_ended() -> bool:
        return process.poll() is not None

    await wait_for(has_ended)
    return process.returncode


async def wait_for_state(member: Harness | Assembly, run_id: str, *states: RunState) -> Run:
    """Wait until the store has a run in one of some states, and return it."""

    async def has_come() -> bool:
        return (await get_kept(member, run_id)).state in states

    await wait_for(has_come)
    return await get_kept(member, run_id)
