"""Authentication of a server over HTTP, from outside: which requests are served, and which servers start."""

import re
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from flowport.domain.access_tokens import create_token, is_token
from flowport.web.local_token import NAME
from tests.support.children import HELLO, Child, open_child
from tests.support.harness import MODES, Mode
from tests.support.patience import PATIENCE_SECONDS
from tests.support.tokens import add_token, revoke_token, show_token

ACCEPTED = {"accept": "application/json, text/event-stream"}
GREETING: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
FAR = 4e9
"""An instant that no test lives to see."""


@contextmanager
def open_server(folder: Path, *flags: str, **environment: str) -> Iterator[tuple[Child, str]]:
    """Start a server that authenticates, and return its URL."""
    with open_child(folder, "--http", "127.0.0.1:0", *flags, environment=environment) as child:
        assert child.process.stdout is not None
        found = re.search(r"http://\S+", child.process.stdout.readline().decode())
        assert found, (folder / "stderr.txt").read_text()
        yield child, found[0]


def greet(url: str, headers: dict[str, str] | list[tuple[str, str]]) -> httpx2.Response:
    """Send the first request of an older client."""
    given = [*ACCEPTED.items(), *(headers if isinstance(headers, list) else headers.items())]
    return httpx2.post(url, json=GREETING, headers=given, trust_env=False, timeout=60)


@asynccontextmanager
async def open_client(url: str, token: str, mode: Mode) -> AsyncIterator[Client]:
    """Connect a client of an era that sends a token."""
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=60, headers=show_token(token)) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


def test_a_server_for_this_computer_makes_a_token_and_says_where_it_is(tmp_path: Path) -> None:
    """Every program on the computer can reach it, and not every one may spend."""
    path = tmp_path / "f/home" / NAME
    with open_server(tmp_path / "f") as (child, url):
        assert child.process.stdout is not None
        line = child.process.stdout.readline().decode()
        token = path.read_text().strip()
        refused, served = greet(url, {}), greet(url, show_token(token))
        health = httpx2.get(url.removesuffix("/mcp") + "/healthz", trust_env=False, timeout=PATIENCE_SECONDS)

    log = (tmp_path / "f/stderr.txt").read_text()
    assert is_token(token)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (refused.status_code, served.status_code, health.status_code) == (401, 200, 200)
    assert str(path) in line
    assert str(path) in log
    assert token not in line + log + refused.text + str(refused.headers)
    base = url.removesuffix("/mcp")
    wanted = f'Bearer resource_metadata="{base}/.well-known/oauth-protected-resource/mcp"'
    assert refused.headers["www-authenticate"] == wanted

    with open_server(tmp_path / "f") as (_, url):
        assert greet(url, show_token(token)).status_code == 200
    assert path.read_text().strip() == token


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_of_each_era_runs_an_app_with_a_token(tmp_path: Path, mode: Mode) -> None:
    """The token is sent with every request, and nothing else differs."""
    token, _ = await add_token(tmp_path / "f/home", "anna")
    with open_server(tmp_path / "f") as (_, url):
        async with open_client(url, token, mode) as client:
            result = await client.call_tool("sandbox_text_to_picture", {"prompt": "a lake"})

    assert isinstance(result.structured_content, dict)
    assert result.structured_content["state"] == "succeeded"
    assert not (tmp_path / "f/home" / NAME).exists()


async def test_each_request_is_judged_by_the_record_of_that_moment(tmp_path: Path) -> None:
    """A revoked token must not live as long as the server."""
    home = tmp_path / "f/home"
    live, record = await add_token(home, "anna", expires_at=FAR)
    expired, _ = await add_token(home, "anna", expires_at=1.0)
    with open_server(tmp_path / "f") as (_, url):
        before = greet(url, show_token(live))
        await revoke_token(home, record)
        answers = [greet(url, show_token(token)) for token in (live, expired, create_token())]
        late, _ = await add_token(home, "bert")
        after = greet(url, show_token(late))

    assert (before.status_code, after.status_code) == (200, 200)
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    sentences = [answer.json()["error_description"] for answer in answers]
    assert ["revoked" in sentences[0], "expired" in sentences[1], "does not know" in sentences[2]] == [True] * 3
    challenge = answers[0].headers["www-authenticate"]
    assert challenge.startswith('Bearer error="invalid_token", error_description="The access token was revoked.')
    log = (tmp_path / "f/stderr.txt").read_text()
    assert not any(token in log for token in (live, expired, late))


async def test_a_token_counts_in_its_header_alone_and_in_its_one_spelling(tmp_path: Path) -> None:
    """Addresses are logged on their way, and two tokens at once leave open which of two programs decides."""
    token, _ = await add_token(tmp_path / "f/home", "anna")
    other, _ = await add_token(tmp_path / "f/home", "bert")
    with open_server(tmp_path / "f") as (_, url):
        served = [greet(url, {"authorization": value}) for value in (f"bearer {token}", f"BEARER  {token}")]
        refused = [
            greet(f"{url}?access_token={token}", {}),
            greet(f"{url}?token={token}", {}),
            greet(url, {"cookie": f"token={token}"}),
            greet(url, {"x-api-key": token}),
            greet(url, {"authorization": token}),
            greet(url, {"authorization": f"Basic {token}"}),
            greet(url, {"authorization": f"Token {token}"}),
            greet(url, {"authorization": "Bearer"}),
            greet(url, {"authorization": f"Bearer {token[:-1]}"}),
            greet(url, {"authorization": f"Bearer {token}x"}),
            greet(url, {"authorization": f"Bearer {token.upper()}"}),
            greet(url, {"authorization": f"Bearer {token},{other}"}),
            greet(url, {"authorization": f"Bearer {token} {other}"}),
            greet(url, {"authorization": f'Bearer "{token}"'}),
            greet(url, {"authorization": "Bearer " + "a" * 20_000}),
        ]
        several = greet(url, [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {other}")])
        health = httpx2.get(url.removesuffix("/mcp") + "/healthz", trust_env=False, timeout=PATIENCE_SECONDS)

    assert {answer.status_code for answer in served} == {200}
    assert {answer.status_code for answer in refused} == {401}
    assert (several.status_code, health.status_code) == (400, 200)
    assert not any(token in answer.text + str(answer.headers) for answer in (*refused, several))
    assert token not in (tmp_path / "f/stderr.txt").read_text()


async def test_a_session_belongs_to_the_person_who_opened_it(tmp_path: Path) -> None:
    """The id of a session stands in logs; to another person it is one that does not exist."""
    home = tmp_path / "f/home"
    mine, _ = await add_token(home, "anna")
    second, _ = await add_token(home, "anna")
    other, _ = await add_token(home, "bert")
    ask = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
    with open_server(tmp_path / "f") as (_, url):
        session = {"mcp-session-id": greet(url, show_token(mine)).headers["mcp-session-id"]}
        answers = [
            httpx2.post(
                url, json=ask, headers={**ACCEPTED, **session, **show_token(token)}, trust_env=False, timeout=60
            )
            for token in (mine, second, other)
        ]
        unknown = httpx2.post(
            url,
            json=ask,
            headers={**ACCEPTED, "mcp-session-id": "0" * 32, **show_token(other)},
            trust_env=False,
            timeout=PATIENCE_SECONDS,
        )

    assert [answer.status_code for answer in answers] == [200, 200, 404]
    assert answers[2].text == unknown.text


async def test_a_person_signs_in_to_the_gallery_with_a_token(tmp_path: Path) -> None:
    """The session ends with its token, and belongs to the owner of the token."""
    home = tmp_path / "f/home"
    token, record = await add_token(home, "anna")
    with open_server(tmp_path / "f") as (_, url):
        origin = url.removesuffix("/mcp")
        with httpx2.Client(trust_env=False, timeout=60, base_url=origin, headers={"origin": origin}) as browser:
            before = browser.get("/gallery/api/runs")
            wrong = browser.post("/gallery/sign-in", data={"token": create_token()})
            signed_in = browser.post("/gallery/sign-in", data={"token": token})
            during = browser.get("/gallery/api/runs")
            await revoke_token(home, record)
            after = browser.get("/gallery/api/runs")

    answers = (before, wrong, signed_in, during, after)
    assert [answer.status_code for answer in answers] == [401, 403, 303, 200, 401]
    assert not any(token in answer.text + str(answer.headers) for answer in answers)


async def test_a_large_body_is_not_read_for_a_caller_without_a_token(tmp_path: Path) -> None:
    """The caller reads the refusal although it has sent more than is read."""
    await add_token(tmp_path / "f/home", "anna")
    with open_server(tmp_path / "f") as (_, url):
        answer = httpx2.post(url, content=b" " * 900_000, headers=ACCEPTED, trust_env=False, timeout=60)

    assert answer.status_code == 401


REFUSED_STARTS = {
    "other computers, no token": (["--http", "0.0.0.0:0"], {}, "--http needs authentication"),
    "other computers by IPv6": (["--http", "[::]:0"], {}, "--http needs authentication"),
    "other computers, no authentication": (["--http", "0.0.0.0:0", "--no-auth"], {}, "--no-auth cannot be combined"),
    "public address, no token": (
        ["--http", "127.0.0.1:0"],
        {"FLOWPORT_PUBLIC_URL": "https://flowport.example.com"},
        "FLOWPORT_PUBLIC_URL needs authentication",
    ),
    "public address, no authentication": (
        ["--http", "127.0.0.1:0", "--no-auth"],
        {"FLOWPORT_PUBLIC_URL": "https://flowport.example.com"},
        "--no-auth cannot be combined with FLOWPORT_PUBLIC_URL",
    ),
    "an issuer, no authentication": (
        ["--http", "127.0.0.1:0", "--no-auth"],
        {"FLOWPORT_OAUTH_ISSUER": "https://auth.example.com"},
        "--no-auth cannot be combined with FLOWPORT_OAUTH_ISSUER",
    ),
    "no authentication of standard input": (["--no-auth"], {}, "--no-auth belongs to --http"),
    "other computers and a wrong setting": (
        ["--http", "0.0.0.0:0"],
        {"FLOWPORT_WAIT_SECONDS": "soon"},
        "FLOWPORT_WAIT_SECONDS",
    ),
    "an issuer without an audience": (
        ["--http", "0.0.0.0:0"],
        {"FLOWPORT_OAUTH_ISSUER": "https://auth.example.com"},
        "Set FLOWPORT_PUBLIC_URL or FLOWPORT_OAUTH_AUDIENCE.",
    ),
}


@pytest.mark.parametrize(("flags", "environment", "words"), REFUSED_STARTS.values(), ids=REFUSED_STARTS)
def test_a_server_that_anyone_could_use_does_not_start(
    tmp_path: Path, flags: list[str], environment: dict[str, str], words: str
) -> None:
    """The sentence says what to do, and nothing is served meanwhile."""
    with open_child(tmp_path / "f", *flags, environment=environment) as child:
        output, _ = child.process.communicate(timeout=60)

    error = (tmp_path / "f/stderr.txt").read_text()
    assert (child.process.returncode, output) == (2, b"")
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "f/home" / NAME).exists()


async def test_a_server_for_other_computers_starts_with_a_token_on_record(tmp_path: Path) -> None:
    """A revoked or an expired one does not count."""
    home = tmp_path / "f/home"
    for changes in ({"revoked_at": 1.0}, {"expires_at": 1.0}):
        await add_token(home, "anna", **changes)
    with open_child(tmp_path / "f", "--http", "0.0.0.0:0") as child:
        assert child.wait() == 2
    token, _ = await add_token(home, "local")
    with open_child(tmp_path / "f", "--http", "0.0.0.0:0") as child:
        assert child.process.stdout is not None
        port = child.process.stdout.readline().decode().rpartition(":")[2]
        url = f"http://127.0.0.1:{port.strip()}"
        assert greet(url, show_token(token)).status_code == 200
        assert greet(url, {}).status_code == 401
    assert not (home / NAME).exists()


@pytest.mark.parametrize("text", ["", "fp_short", "fp_" + "é" * 43, "mk-0123456789abcdef"])
def test_a_damaged_token_file_is_named(tmp_path: Path, text: str) -> None:
    """An empty token would be one that everybody has."""
    (tmp_path / "f/home").mkdir(parents=True)
    (tmp_path / "f/home" / NAME).write_text(text)
    with open_server_that_fails(tmp_path / "f") as error:
        assert f"FLOWPORT_HOME holds a file {NAME}" in error
        assert text not in error or not text


@contextmanager
def open_server_that_fails(folder: Path) -> Iterator[str]:
    """Start a server that ends, and return what it says."""
    with open_child(folder, "--http", "127.0.0.1:0") as child:
        assert child.wait() == 2
    yield (folder / "stderr.txt").read_text()
