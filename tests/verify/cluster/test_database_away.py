"""Requests that need no record are served while the database is away, with real processes: two replicas, and no worker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
import mcp.types as t
import pytest
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.support.cluster import Team, add_tokens, open_team
from tests.support.harness import Mode
from tests.support.provider_process import open_provider
from tests.support.team import wait_for
from tests.support.tokens import show_token

TOOL: Final = "text_to_picture"
MODES: Final[tuple[Mode, ...]] = ("legacy", "auto")
LEGACY: Final = "2025-11-25"


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    """Run two replicas on a database server of their own."""
    with (
        open_provider(tmp_path, "--quick") as provider,
        open_team(tmp_path / "team", provider, replicas=2, workers=0, proxy="", people=("anna", "boris")) as found,
    ):
        yield found


async def use(team: Team, token: str, url: str, mode: Mode) -> t.CallToolResult:
    """Connect as the official client does, ask for every list that is in memory, and return the answer of a tool."""
    async with team.connect(token, mode, url=url, context=False) as client:
        assert TOOL in {tool.name for tool in (await client.list_tools()).tools}
        assert (await client.list_prompts()).prompts
        assert (await client.list_resource_templates()).resource_templates
        if mode == "legacy":
            with pytest.warns(MCPDeprecationWarning):
                await client.send_ping()
        return await client.call_tool("find_apps", {"query": "picture"})


async def ask(url: str, token: str) -> int:
    """Return the status of a request for the tools."""
    headers: dict[str, str] = {
        **show_token(token),
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": LEGACY,
    }
    hello: dict[str, Any] = {
        "protocolVersion": LEGACY,
        "capabilities": {},
        "clientInfo": {"name": "a client", "version": "1"},
    }
    request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=90) as http:
        return (await http.post(f"{url}/mcp", json=request)).status_code


async def test_clients_connect_and_list_tools_while_the_database_is_away(team: Team) -> None:
    """A person whose token was used just before notices nothing; any other is asked to try again, and not called unknown."""
    anna, boris, urls = team.tokens["anna"], team.tokens["boris"], [one.url for one in team.replicas]
    assert [await ask(url, anna) for url in urls] == [200, 200]
    team.postgres.stop()
    answers: list[t.CallToolResult] = []

    async def look(url: str, mode: Mode) -> None:
        """Use a replica."""
        answers.append(await use(team, anna, url, mode))

    async with anyio.create_task_group() as group:
        for url in urls:
            for mode in MODES:
                group.start_soon(look, url, mode)

    assert [one.is_error for one in answers] == [False] * 4
    assert [await ask(url, boris) for url in urls] == [503, 503]


async def test_a_revoked_token_ends_at_both_replicas_when_the_database_answers_again(team: Team) -> None:
    """That it counted meanwhile does not outlast the outage."""
    anna, urls = team.tokens["anna"], [one.url for one in team.replicas]
    assert [await ask(url, anna) for url in urls] == [200, 200]
    team.postgres.stop()
    assert [await ask(url, anna) for url in urls] == [200, 200]
    team.postgres.start()
    await add_tokens(team.database_url, ())  # waits until it answers
    token_id = team.query("UPDATE tokens SET revoked_at = 1 WHERE owner = 'anna' RETURNING id")

    assert token_id

    async def are_refused() -> bool:
        """Ask both: until its connections are made again, a replica has no database."""
        return [await ask(url, anna) for url in urls] == [401, 401]

    await wait_for(are_refused)
