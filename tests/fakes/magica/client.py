"""What the tests do with Magica's face of a sandbox."""

from dataclasses import dataclass
from typing import Any

import httpx2

from tests.fakes.client import KEY, Client

MAGICA_KEY = f"gx_{KEY}"


@dataclass(frozen=True)
class MagicaClient:
    """A client with one of the face's keys."""

    sandbox: Client
    key: str = MAGICA_KEY

    async def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Send a request."""
        headers = {"authorization": f"Bearer {self.key}"}
        return await self.sandbox.http.request(method, f"/magica{path}", headers=headers, **more)

    async def get(self, path: str, **query: Any) -> Any:
        """Read something that is there."""
        answer = await self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any) -> Any:
        """Post what is taken."""
        answer = await self.ask("POST", path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def switch(self, **body: Any) -> Any:
        """Change the face."""
        return await self.post("/_sandbox/magica", body)

    async def find(self, name: str) -> dict[str, Any]:
        """Return the graph of the workflow with this name."""
        for path, key in (("workflows", "id"), ("system-workflows", "slug")):
            for item in (await self.get(f"/v1/{path}"))["items"]:
                if item["name"] == name:
                    graph: dict[str, Any] = await self.get(f"/v1/{path}/{item[key]}")
                    return graph
        raise LookupError(name)

    async def run(self, name: str, **values: Any) -> httpx2.Response:
        """Ask for a run of the workflow with this name."""
        graph = await self.find(name)
        body = {"workflowId": graph.get("id") or graph["slug"], "values": {graph["nodes"][0]["id"]: values}}
        return await self.ask("POST", "/v1/runs", json=body)

    async def start(self, name: str, **values: Any) -> str:
        """Start a run and return its id."""
        answer = await self.run(name, **values)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["runId"])

    async def finish(self, name: str, **values: Any) -> dict[str, Any]:
        """Start a run and return how it ended, in the documented shape."""
        run_id = await self.start(name, **values)
        await self.sandbox.end(run_id)
        run: dict[str, Any] = await self.get(f"/v1/runs/{run_id}")
        return run

    async def count(self) -> dict[str, Any]:
        """Read the counts."""
        counts: dict[str, Any] = await self.get("/_sandbox/counts")
        return counts
