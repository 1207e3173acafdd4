"""What a token may spend on a real server, from the command that makes it to the one that revokes it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from tests.support.harness import MODES, Mode
from tests.support.tokens import show_token
from tests.web.test_auth import greet, open_client, open_server

TOOL = "sandbox_text_to_picture"
ACCOUNT_CAP = {"FLOWPORT_ACCOUNT_MAX_CREDITS_PER_DAY": "9", "FLOWPORT_MAX_CREDITS_PER_DAY": "2"}


def run_token(folder: Path, *words: str) -> dict[str, Any]:
    """Type a command about tokens beside the server."""
    done = subprocess.run(
        [sys.executable, "-m", "flowport", "token", *words, "--json", "--home", str(folder / "home")],
        env=os.environ,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the facts of an answer."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result.structured_content, dict), result
    return result.structured_content


@pytest.mark.parametrize("mode", MODES)
async def test_people_spend_what_their_tokens_and_the_account_allow(tmp_path: Path, mode: Mode) -> None:
    """Anna's own cap replaces the setting's, Bert has the setting's, and the account's holds for both together."""
    folder = tmp_path / "f"
    anna = run_token(folder, "add", "anna", "--max-credits-per-day", "100", "--confirm-above-credits", "50")
    with open_server(folder, **ACCOUNT_CAP) as (_, url):
        bert = run_token(folder, "add", "bert")
        async with (
            open_client(url, anna["token"], mode) as hers,
            open_client(url, bert["token"], mode) as his,
        ):
            first = [await ask(his, TOOL, prompt=f"bert {n}") for n in range(2)]
            more = [await ask(hers, TOOL, prompt=f"anna {n}") for n in range(4)]
            balances = [(await ask(one, "get_balance"))["accounts"][0] for one in (hers, his)]
    assert [one.get("error", one.get("state")) for one in first] == ["succeeded", "DayCapReached"]
    assert "FLOWPORT_MAX_CREDITS_PER_DAY allows" in first[1]["message"]
    assert [one.get("error", one.get("state")) for one in more] == ["succeeded"] * 3 + ["AccountCapReached"]
    assert "together 1 are left" in more[3]["message"]
    assert "bert" not in more[3]["message"]
    shown = [
        (one["spent_credits_24_hours"], one["max_credits_per_day"], one["left_credits_24_hours"]) for one in balances
    ]
    assert shown == [(6, 100, 94), (2, 2, 0)]
    assert {one["account_left_credits_24_hours"] for one in balances} == {1}


async def test_a_token_of_another_provider_has_no_apps(tmp_path: Path) -> None:
    """The sandbox stands for Magnific here."""
    folder = tmp_path / "f"
    bound = run_token(folder, "add", "anna", "--account", "magica")
    allowed = run_token(folder, "add", "bert", "--account", "magnific")
    with open_server(folder) as (_, url):
        counts = []
        for one in (bound, allowed):
            async with open_client(url, one["token"], "auto") as client:
                names = [tool.name for tool in (await client.list_tools()).tools]
                counts.append(sum(name.startswith("sandbox_") for name in names))
    assert counts[0] == 0
    assert counts[1] > 0


async def test_a_revocation_ends_a_session_at_its_next_request(tmp_path: Path) -> None:
    """The command is typed beside the server, and a session that is open already is not an exception."""
    folder = tmp_path / "f"
    anna = run_token(folder, "add", "anna")
    headers = show_token(anna["token"])
    with open_server(folder) as (_, url):
        opened = greet(url, headers)
        session = {**headers, "mcp-session-id": opened.headers["mcp-session-id"]}
        message = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        accepted = {"accept": "application/json, text/event-stream"}
        revoke = await anyio.to_thread.run_sync(run_token, folder, "revoke", "anna")
        after = httpx2.post(url, json=message, headers={**session, **accepted}, trust_env=False, timeout=60)
    assert (opened.status_code, revoke["state"], after.status_code) == (200, "revoked", 401)
    assert anna["token"] not in after.text
