"""What the tests do with a sandbox, over real HTTP on the loopback interface."""

import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2
from PIL import Image, ImageDraw

from flowport.sandbox.apps import APPS
from flowport.sandbox.serve import SandboxAddresses
from tests.fakes.magnific.serve import serve
from tests.fakes.magnific.state import FakeOptions

KEY = "test-key-of-the-sandbox"
IDS = {app.name: app.id for app in APPS}


@dataclass(frozen=True)
class Client:
    """What the tests do with a sandbox."""

    http: httpx2.AsyncClient
    addresses: SandboxAddresses
    scope: anyio.CancelScope
    over: anyio.Event

    async def stop(self) -> None:
        """Cancel the sandbox and wait until it has ended."""
        self.scope.cancel()
        await self.over.wait()

    async def switch(self, name: str, **body: Any) -> httpx2.Response:
        """Turn a switch."""
        answer = await self.http.post(f"/_sandbox/{name}", json=body)
        answer.raise_for_status()
        return answer

    async def run(self, app: str, **inputs: Any) -> httpx2.Response:
        """Ask for a run."""
        return await self.http.post(f"/v1/ai/flows/{IDS[app]}/run", json={"inputs": inputs})

    async def start(self, app: str, **inputs: Any) -> str:
        """Start a run and return its id."""
        answer = await self.run(app, **inputs)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["workflow_run_identifier"])

    async def read(self, run_id: str) -> dict[str, Any]:
        """Read a run as it is now."""
        answer = await self.http.get(f"/v1/ai/flows/runs/{run_id}")
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def end(self, run_id: str) -> dict[str, Any]:
        """Wait for the end of a run and return it."""
        answer = await self.http.get(f"/_sandbox/runs/{run_id}/end")
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def finish(self, app: str, **inputs: Any) -> dict[str, Any]:
        """Start a run and return how it ended."""
        return await self.end(await self.start(app, **inputs))

    async def make_pictures(self, app: str, **inputs: Any) -> list[Image.Image]:
        """Run an app and fetch the pictures that it made."""
        result = (await self.finish(app, **inputs))["result"]
        answers = [await self.http.get(item["url"]) for item in result["images"]]
        return [Image.open(io.BytesIO(answer.content)).convert("RGB") for answer in answers]


@asynccontextmanager
async def open_sandbox(**options: Any) -> AsyncIterator[Client]:
    """Run a sandbox of its own, whose runs take no time."""
    ready, over, scope = anyio.Event(), anyio.Event(), anyio.CancelScope()
    found: list[SandboxAddresses] = []

    def note(addresses: SandboxAddresses) -> None:
        """Keep the addresses."""
        found.append(addresses)
        ready.set()

    async def live() -> None:
        """Serve until the scope is cancelled."""
        with scope:
            await serve(FakeOptions(**{"key": KEY, "speed": 0, **options}), note)
        over.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live)
        with anyio.fail_after(60):
            await ready.wait()
        headers = {"x-magnific-api-key": KEY}
        async with httpx2.AsyncClient(
            base_url=found[0].api_url, headers=headers, timeout=60, trust_env=False, follow_redirects=False
        ) as http:
            yield Client(http, found[0], scope, over)
        scope.cancel()


def build_photo(width: int = 90, height: int = 60) -> Image.Image:
    """Draw a small picture with light, dark, colour and an edge."""
    photo = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    ImageDraw.Draw(photo).ellipse((width // 4, height // 4, width // 2, height // 2), fill=(200, 60, 30))
    return photo


def write(picture: Image.Image, kind: str = "PNG") -> bytes:
    """Encode a picture."""
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def encode(picture: Image.Image, kind: str = "PNG") -> str:
    """Encode a picture as the base64 of a run request."""
    return base64.b64encode(write(picture, kind)).decode()
