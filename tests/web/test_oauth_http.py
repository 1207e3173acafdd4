"""A server whose clients sign in at an OAuth issuer: real processes, and the official client's own flow."""

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken, ProtectedResourceMetadata
from starlette.responses import Response

from tests.support.children import HELLO, Child, open_child
from tests.support.harness import MODES, Mode
from tests.support.oauth_issuer import METADATA, OPENID, Issuer, open_issuer
from tests.support.tokens import add_token, show_token
from tests.web.forged_tokens import forge

ACCEPTED = {"accept": "application/json, text/event-stream"}
GREETING: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
WELL_KNOWN = "/.well-known/oauth-protected-resource"
REDIRECT = "http://127.0.0.1:1/callback"


@asynccontextmanager
async def start_server(folder: Path, **environment: str) -> AsyncIterator[tuple[Child, str]]:
    """Start a server that authenticates, and return its URL; what else this process serves goes on meanwhile."""
    with open_child(folder, "--http", "127.0.0.1:0", environment=environment) as child:
        assert child.process.stdout is not None
        found = re.search(r"http://\S+", (await anyio.to_thread.run_sync(child.process.stdout.readline)).decode())
        assert found, (folder / "stderr.txt").read_text()
        yield child, found[0]


def open_server(folder: Path, issuer: Issuer, **environment: str) -> AbstractAsyncContextManager[tuple[Child, str]]:
    """Start a server that accepts the tokens of an issuer."""
    return start_server(folder, FLOWPORT_OAUTH_ISSUER=issuer.url, **environment)


async def greet(url: str, headers: dict[str, str]) -> httpx2.Response:
    """Send the first request of an older client."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        return await http.post(url, json=GREETING, headers={**ACCEPTED, **headers})


class Storage:
    """Where the client keeps what it got."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """Return the tokens."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep tokens."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return the registration."""
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep the registration."""
        self.client = client_info


def build_flow(url: str, storage: Storage) -> OAuthClientProvider:
    """Return the official client's flow, with a person who agrees at once in the place of a browser."""
    answers: list[AuthorizationCodeResult] = []

    async def visit(address: str) -> None:
        """Open the issuer's page, and keep where it redirects to."""
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
            page = await browser.get(address)
        given = parse_qs(urlsplit(page.headers["location"]).query)
        answers.append(AuthorizationCodeResult(code=given["code"][0], state=given["state"][0], iss=given["iss"][0]))

    async def answer() -> AuthorizationCodeResult:
        """Return the code."""
        return answers.pop()

    metadata = OAuthClientMetadata.model_validate(
        {"client_name": "test", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none"}
    )
    return OAuthClientProvider(url, metadata, storage, visit, answer)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_signs_in_and_runs_an_app(tmp_path: Path, mode: Mode, host: str) -> None:
    """It knows the server's address alone: metadata, registration, a code with its proof and the token follow from it."""
    storage, scopes = Storage(), {"FLOWPORT_OAUTH_SCOPES": "flowport"}
    async with open_issuer() as issuer, open_server(tmp_path / "f", issuer, **scopes) as (_, at):
        url = at.replace("127.0.0.1", host)
        async with (
            httpx2.AsyncClient(trust_env=False, timeout=60, auth=build_flow(url, storage)) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            result = await client.call_tool("sandbox_text_to_picture", {"prompt": "a lake"})
            listed = await client.call_tool("list_runs", {})

    assert isinstance(result.structured_content, dict)
    assert result.structured_content["state"] == "succeeded"
    assert isinstance(listed.structured_content, dict)
    assert len(listed.structured_content["runs"]) == 1
    assert storage.tokens is not None
    assert storage.tokens.access_token not in (tmp_path / "f/stderr.txt").read_text()


async def test_what_a_client_is_answered_says_what_to_do(tmp_path: Path) -> None:
    """401 sends it to the issuer, 403 asks for more, and 503 has it try again with the same token."""
    async with open_issuer() as issuer:
        home = tmp_path / "f/home"
        own, _ = await add_token(home, "bert")
        async with open_server(tmp_path / "f", issuer, FLOWPORT_OAUTH_SCOPES="flowport,runs") as (_, url):
            issuer.answers = {path: Response(status_code=502) for path in (METADATA, OPENID)}
            token = issuer.issue(url, scope="flowport runs")
            down = await greet(url, show_token(token))
            beside = await greet(url, show_token(own))
            issuer.answers = {}
            while (served := await greet(url, show_token(token))).status_code == 503:
                await anyio.lowlevel.checkpoint()
            nothing = await greet(url, {})
            expired = await greet(url, show_token(issuer.issue(url, exp=5)))
            few = await greet(url, show_token(issuer.issue(url, scope="flowport")))

    base = url.removesuffix("/mcp")
    metadata = f'resource_metadata="{base}{WELL_KNOWN}/mcp"'
    assert [answer.status_code for answer in (down, beside, served, nothing, expired, few)] == [
        503,
        200,
        200,
        401,
        401,
        403,
    ]
    assert down.headers["retry-after"].isdigit()
    assert "www-authenticate" not in down.headers
    assert nothing.headers["www-authenticate"] == f'Bearer scope="flowport runs", {metadata}'
    assert expired.headers["www-authenticate"].startswith('Bearer error="invalid_token", error_description="')
    assert metadata in expired.headers["www-authenticate"]
    challenge = few.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="flowport runs"' in challenge
    assert metadata in challenge
    assert all(answer.json()["error_description"].endswith(".") for answer in (down, nothing, expired, few))


async def test_no_forged_token_reaches_the_server(tmp_path: Path) -> None:
    """The same tokens as in the rules' own test, over a connection; what HTTP cannot carry is not sent."""
    sent, accepted = 0, []
    limit = {"FLOWPORT_PERSON_REQUESTS_PER_MINUTE": "100000"}
    async with (
        open_issuer() as issuer,
        open_server(tmp_path / "f", issuer, **limit) as (_, url),
        httpx2.AsyncClient(trust_env=False, timeout=60, headers=ACCEPTED) as http,
    ):
        for name, token in forge(issuer, url):
            answer = await http.post(url, json=GREETING, headers=show_token(token))
            sent += 1
            if answer.status_code != 401:
                accepted.append((name, answer.status_code))
            assert token not in answer.text or len(token) < 10
        genuine = await http.post(url, json=GREETING, headers=show_token(issuer.issue(url)))

    assert (sent >= 150, accepted, genuine.status_code) == (True, [], 200)
    assert issuer.requests["/attacker-keys"] == 0
    log = (tmp_path / "f/stderr.txt").read_text()
    assert "Traceback" not in log
    assert "eyJ" not in log


async def test_a_token_for_this_server_at_another_name_is_for_another_server(tmp_path: Path) -> None:
    """What a client writes into its Host header decides nothing."""
    public = "https://flowport.example.com/team"
    async with open_issuer() as issuer, open_server(tmp_path / "f", issuer, FLOWPORT_PUBLIC_URL=public) as (_, url):
        answers = [
            await greet(url, show_token(issuer.issue(audience)))
            for audience in (f"{public}/mcp", url, "https://flowport.example.com/mcp", public)
        ]
    assert [answer.status_code for answer in answers] == [200, 401, 401, 401]
    wanted = 'resource_metadata="https://flowport.example.com/.well-known/oauth-protected-resource/team/mcp"'
    assert wanted in answers[1].headers["www-authenticate"]


async def test_an_audience_of_the_settings_replaces_the_address(tmp_path: Path) -> None:
    """Some issuers name servers by identifiers that are no addresses."""
    async with (
        open_issuer() as issuer,
        open_server(tmp_path / "f", issuer, FLOWPORT_OAUTH_AUDIENCE="api://flowport") as (
            _,
            url,
        ),
    ):
        answers = [await greet(url, show_token(issuer.issue(audience))) for audience in ("api://flowport", url)]
    assert [answer.status_code for answer in answers] == [200, 401]


@pytest.mark.parametrize(
    ("public", "paths"),
    [
        ("", (WELL_KNOWN, f"{WELL_KNOWN}/mcp", f"{WELL_KNOWN}/", f"/mcp{WELL_KNOWN}")),
        (
            "https://flowport.example.com/team",
            (
                WELL_KNOWN,
                f"{WELL_KNOWN}/team/mcp",
                f"{WELL_KNOWN}/mcp",
                f"/team{WELL_KNOWN}",
                f"/team{WELL_KNOWN}/mcp",
                f"/team/mcp{WELL_KNOWN}",
                f"/mcp{WELL_KNOWN}",
            ),
        ),
    ],
)
async def test_the_metadata_are_at_every_address_that_clients_try(
    tmp_path: Path, public: str, paths: tuple[str, ...]
) -> None:
    """A page in a browser may read them too, and none of them needs a token."""
    scopes = {"FLOWPORT_OAUTH_SCOPES": "flowport", **({"FLOWPORT_PUBLIC_URL": public} if public else {})}
    async with open_issuer() as issuer, open_server(tmp_path / "f", issuer, **scopes) as (_, url):
        base = url.removesuffix("/mcp")
        async with httpx2.AsyncClient(trust_env=False, timeout=60, base_url=base) as http:
            page = {"origin": "https://inspector.example.com"}
            answers = [await http.get(path, headers=page) for path in paths]
            asking = {
                **page,
                "access-control-request-method": "GET",
                "access-control-request-headers": "mcp-protocol-version",
            }
            preflight = await http.options(paths[1], headers=asking)
            refused = await http.post("/mcp", json=GREETING, headers={**ACCEPTED, **page})
            elsewhere = await http.get(f"{WELL_KNOWN}/other")

    endpoint = f"{public or base}/mcp"
    for answer in answers:
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert answer.json() == {
            "resource": endpoint,
            "resource_name": "Flowport",
            "bearer_methods_supported": ["header"],
            "authorization_servers": [issuer.url],
            "scopes_supported": ["flowport"],
        }
        assert str(ProtectedResourceMetadata.model_validate(answer.json()).resource) == endpoint
    assert preflight.status_code == 200
    assert "mcp-protocol-version" in preflight.headers["access-control-allow-headers"]
    assert (refused.status_code, elsewhere.status_code) == (403, 404)
