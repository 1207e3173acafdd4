"""A person's own provider key in a header: beside a valid token, for one request, and in no log, answer or file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from flowport.domain.principal import Principal
from flowport.web.own_keys import OwnKeysRefused, get_own_key_headers, parse_own_keys
from tests.fakes.client import KEY, open_sandbox
from tests.support.harness import MODES, Mode
from tests.support.tokens import add_token, show_token
from tests.web.test_oauth_http import GREETING, greet, start_server

HEADER = "X-Magnific-Api-Key"
OTHER_KEY = "FPSXbelongs0to0no0one0at0this0place"


@asynccontextmanager
async def connect(url: str, mode: Mode, **headers: str) -> AsyncIterator[Client]:
    """Connect a client of an era that sends these headers."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=60, headers=given) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool and return the facts of its answer."""
    facts = (await client.call_tool(tool, arguments)).structured_content
    assert isinstance(facts, dict)
    return facts


def find_leaks(folder: Path, secret: str) -> list[str]:
    """Return the files below a folder that hold a secret."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path.name for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.parametrize("mode", MODES)
async def test_an_own_key_is_used_in_the_place_of_the_servers(tmp_path: Path, mode: Mode) -> None:
    """A key that the provider does not know fails the person's call, and the server's key pays nothing."""
    token, _ = await add_token(tmp_path / "f/home", "anna")
    async with open_sandbox() as sandbox:
        environment = {
            "MAGNIFIC_API_KEY": KEY,
            "MAGNIFIC_BASE_URL": sandbox.addresses.api_url,
            "MAGNIFIC_FILE_ORIGINS": sandbox.addresses.files_url,
            "FLOWPORT_OWN_KEYS": "true",
        }
        async with start_server(tmp_path / "f", **environment) as (_, url):
            bearer = f"Bearer {token}"
            async with connect(url, mode, authorization=bearer) as client:
                plain = await ask(client, "text_to_picture", prompt="a lake")
            async with connect(url, mode, authorization=bearer, X_Magnific_Api_Key=KEY) as client:
                own = await ask(client, "text_to_picture", prompt="a hill")
            assert await count_starts(sandbox.http) == 2
            async with connect(url, mode, authorization=bearer, X_Magnific_Api_Key=OTHER_KEY) as client:
                refused = await ask(client, "find_apps", query="picture")
                tried = await client.call_tool("run_app", {"app": "text_to_picture", "inputs": {"prompt": "a sea"}})

            assert await count_starts(sandbox.http) == 2
    assert (plain["state"], own["state"]) == ("succeeded", "succeeded")
    assert not refused["apps"]
    assert tried.is_error
    assert OTHER_KEY not in str(refused) + str(tried)
    assert find_leaks(tmp_path, OTHER_KEY) == []
    assert find_leaks(tmp_path, token) == []


async def count_starts(http: httpx2.AsyncClient) -> int:
    """Return how many runs the provider was asked to start."""
    counts = (await http.get("/_sandbox/counts")).json()
    return int(counts["run"])


MALFORMED = {
    "a placeholder": "${MAGNIFIC_API_KEY}",
    "an example": "your key",
    "another provider's": "gx_0123456789abcdef",
    "another service's": "sk-ant-0123456789abcdef",
    "a line of a header": "Bearer mk-0123456789abcdef",
    "a masked one": "mk-0123...cdef",
    "two words": "mk-0123 456789",
    "quotes alone": '""',
    "a path": "/home/anna/key.txt",
    "an address": "https://api.example.com/key",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_a_key_is_refused_in_a_sentence(text: str) -> None:
    """Nothing of it is repeated that may be a secret, and the sentence names the header."""
    with pytest.raises(OwnKeysRefused) as caught:
        parse_own_keys([(HEADER.lower().encode(), text.encode())], are_accepted=True)
    sentence = str(caught.value)
    assert caught.value.status == 400
    assert sentence.startswith(f"{HEADER} ")
    assert "Send a key of Magnific, or send the request without the header." in sentence
    assert "0123456789" not in sentence


def test_each_provider_with_a_key_has_a_header() -> None:
    """The names come from the registry, so a provider that is added has one too."""
    assert set(get_own_key_headers()) >= {"X-Magnific-Api-Key", "X-Magica-Api-Key"}
    both = [(b"x-magnific-api-key", b"FPSX0123456789abcdef"), (b"X-Magica-Api-Key", b"gx_0123456789abcdef")]
    keys = {"magnific": "FPSX0123456789abcdef", "magica": "gx_0123456789abcdef"}
    assert parse_own_keys([*both, (b"accept", b"*/*")], are_accepted=True) == keys
    assert parse_own_keys([], are_accepted=False) == {}


async def test_an_own_key_counts_beside_a_token_only_where_it_is_allowed(tmp_path: Path) -> None:
    """A key says who pays, and not who asks."""
    token, _ = await add_token(tmp_path / "f/home", "anna")
    own = {HEADER: OTHER_KEY}
    async with start_server(tmp_path / "f", FLOWPORT_OWN_KEYS="true") as (_, url):
        alone = await greet(url, own)
        as_token = await greet(url, show_token(OTHER_KEY))
        malformed = await greet(url, {**show_token(token), HEADER: "${KEY}"})
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
            several = await http.post(
                url, json=GREETING, headers=[*show_token(token).items(), *own.items(), (HEADER, "FPSX2")]
            )
    async with start_server(tmp_path / "f") as (_, url):
        forbidden = await greet(url, {**show_token(token), **own})

    answers = (alone, as_token, malformed, several, forbidden)
    assert [answer.status_code for answer in answers] == [401, 401, 400, 400, 403]
    assert forbidden.json()["error_description"] == (
        f"This server takes no keys of its users. Send the request without {HEADER}."
    )
    assert not any(OTHER_KEY in answer.text + str(answer.headers) for answer in answers)
    assert find_leaks(tmp_path, OTHER_KEY) == []


async def test_a_token_for_one_provider_reaches_its_account_alone(tmp_path: Path) -> None:
    """A token names providers, and the accounts behind the names are those of the moment."""
    home = tmp_path / "f/home"
    token, _ = await add_token(home, "anna", account_ids=frozenset({"magnific"}))
    other, _ = await add_token(home, "bert", account_ids=frozenset({"magica"}))
    async with start_server(tmp_path / "f") as (_, url):
        names = []
        for one in (token, other):
            async with connect(url, "auto", authorization=f"Bearer {one}") as client:
                tools = (await client.list_tools()).tools
                names.append("sandbox_text_to_picture" in {tool.name for tool in tools})
    assert names == [True, False]


def test_a_principal_without_limits_of_its_own_uses_every_account() -> None:
    """None means all, and an empty set means none."""
    assert Principal("anna").may_use("magnific:api:1")
    assert not Principal("anna", frozenset()).may_use("magnific:api:1")
