"""What the tests do with the demo provider, over real HTTP and through its public API alone."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2
from anyio.streams.buffered import BufferedByteReceiveStream

from flowport.sandbox.serve import GRANTED, Leases, SandboxAddresses, SandboxOptions, serve
from flowport.sandbox.storage import Storage
from tests.fakes.client import KEY
from tests.fakes.client import Client as FakeClient

OVER = frozenset({"completed", "completed_with_errors", "failed", "cancelled"})


@dataclass(frozen=True)
class Client(FakeClient):
    """What the tests do with a demo."""

    leases: Leases

    async def end(self, run_id: str) -> dict[str, Any]:
        """Read a run until it is over."""
        with anyio.fail_after(60):
            while (run := await self.read(run_id))["status"] not in OVER:  # noqa: ASYNC110 - the API has no event
                await anyio.sleep(0.01)
        return run

    async def tidy(self, needed_runs: Sequence[str] = ()) -> None:
        """Let it forget what is old."""
        async with await anyio.connect_tcp("127.0.0.1", self.leases.port) as program:
            replies = BufferedByteReceiveStream(program)
            await program.send(f"{KEY}\n{json.dumps([*needed_runs])}\n".encode())
            assert await replies.receive_exactly(2 * len(GRANTED)) == GRANTED * 2


@asynccontextmanager
async def open_sandbox(storage: Storage | None = None, **options: Any) -> AsyncIterator[Client]:
    """Run a demo of its own, whose runs take no time; its storage is closed afterwards."""
    ready, over, scope = anyio.Event(), anyio.Event(), anyio.CancelScope()
    found: list[SandboxAddresses] = []

    def note(addresses: SandboxAddresses) -> None:
        """Keep the addresses."""
        found.append(addresses)
        ready.set()

    async def live() -> None:
        """Serve until the scope is cancelled."""
        with scope:
            await serve(SandboxOptions(**{"key": KEY, "speed": 0, **options}), note, storage, leases)
        over.set()

    leases = Leases(KEY, lambda: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live)
        with anyio.fail_after(60):
            await ready.wait()
        (addresses,) = found
        headers = {"x-magnific-api-key": KEY}
        async with httpx2.AsyncClient(base_url=addresses.api_url, headers=headers, trust_env=False, timeout=60) as http:
            yield Client(http, addresses, scope, over, leases)
        scope.cancel()
    if storage is not None:
        storage.close()
