"""A server for several people in this process: real authentication, one provider address, and an account for each key."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
from mcp import Client
from mcp.client.session import ElicitationFnT
from mcp.client.streamable_http import streamable_http_client
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flowport.bootstrap import Assembly, open_assembly
from flowport.providers.registry import ProviderSettings
from flowport.runtime.clock import Clock
from flowport.runtime.http_server import HttpServer
from flowport.server.clients import SESSION_HEADER
from flowport.server.handlers import build_server
from flowport.server.server import FlowportServer
from flowport.settings.http_settings import HttpSettings
from flowport.settings.settings import Settings
from flowport.web.app import PATH, build_app, build_site
from flowport.web.auth import Authenticator
from flowport.web.listen_address import Address, listen
from flowport.web.signing import Purpose, load_signer
from tests.fakes.client import KEY, open_sandbox
from tests.fakes.client import Client as SandboxClient
from tests.support.end_of_test import EndOfTest
from tests.support.harness import QUICK, Mode
from tests.support.patience import PATIENCE_SECONDS
from tests.support.tokens import build_token, show_token

KEY_HEADER: Final = "x-magnific-api-key"
"""Both the provider's own header and the one in which a person sends a key to the server."""

SHARED_KEY: Final = "shared-key-of-the-agency-8f2c"
OWN_KEY: Final = "own-key-of-one-person-51d7"
OTHER_KEY: Final = "own-key-of-another-person-a90e"


@dataclass
class KeyedProvider:
    """One provider address behind which each key has an account of its own: another sandbox."""

    accounts: Mapping[str, SandboxClient]
    http: httpx2.AsyncClient
    seen: Counter[str] = field(default_factory=Counter)
    """How many requests came with each key."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await (await self._answer(Request(scope, receive)))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        key = request.headers.get(KEY_HEADER, "")
        self.seen[key] += 1
        account = self.accounts.get(key)
        if account is None:
            return JSONResponse({"message": "Invalid API key"}, 401)
        headers = {name: value for name, value in request.headers.items() if name not in {"host", KEY_HEADER}}
        answer = await self.http.request(
            request.method,
            f"{account.addresses.api_url}{request.url.path}",
            params=str(request.url.query),
            content=await request.body(),
            headers={**headers, KEY_HEADER: KEY},
        )
        kept = {name: value for name, value in answer.headers.items() if name == "content-type"}
        return Response(answer.content, answer.status_code, kept)


@asynccontextmanager
async def serve_app(app: ASGIApp, *, lifespan: str = "off") -> AsyncIterator[str]:
    """Serve an application on a port of this computer, and yield its origin."""
    with listen(Address("127.0.0.1", 0)) as listener:
        web = HttpServer(app, log_level=logging.CRITICAL, lifespan=lifespan)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.serve, [listener])
            yield Address(*listener.getsockname()[:2]).origin
            web.should_exit = True


@asynccontextmanager
async def open_provider(*keys: str) -> AsyncIterator[tuple[KeyedProvider, str]]:
    """Serve a provider that knows these keys, and yield it with its address."""
    async with AsyncExitStack() as stack:
        accounts = {key: await stack.enter_async_context(open_sandbox()) for key in keys}
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=60))
        provider = KeyedProvider(accounts, http)
        yield provider, await stack.enter_async_context(serve_app(provider))


@dataclass
class Tenancy:
    """The server and its people."""

    provider: KeyedProvider
    assembly: Assembly
    server: FlowportServer
    origin: str
    stack: AsyncExitStack = field(repr=False)
    session_ids: dict[str, str] = field(default_factory=dict)
    """The newest session of each owner's clients of the older eras."""
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"{self.origin}{PATH}"

    async def get_headers(self, owner: str, key: str = "", account_ids: frozenset[str] | None = None) -> dict[str, str]:
        """Return what a person's program sends with every request; the first call decides on what the token opens."""
        if owner not in self._tokens:
            token, record = build_token(owner, account_ids=account_ids)
            assert await self.assembly.workspace.store.add_token(record)
            self._tokens[owner] = token
        return {**show_token(self._tokens[owner]), **({KEY_HEADER: key} if key else {})}

    async def open_http(self, owner: str, key: str = "") -> httpx2.AsyncClient:
        """Return an HTTP client of a person."""
        headers = await self.get_headers(owner, key)
        http = httpx2.AsyncClient(base_url=self.origin, trust_env=False, timeout=60, headers=headers)
        return await self.stack.enter_async_context(http)

    async def connect(
        self, owner: str, mode: Mode = "auto", *, key: str = "", ask_person: ElicitationFnT | None = None
    ) -> Client:
        """Return a new client of a person, which is closed with the server."""
        return await self.stack.enter_async_context(self.open_client(owner, mode, key=key, ask_person=ask_person))

    @asynccontextmanager
    async def open_client(
        self,
        owner: str,
        mode: Mode = "auto",
        *,
        key: str = "",
        ask_person: ElicitationFnT | None = None,
        **options: Any,
    ) -> AsyncIterator[Client]:
        """Connect a new client of a person."""
        http = await self.open_http(owner, key)
        found: list[str] = []

        async def note_session(answer: httpx2.Response) -> None:
            """Keep the session that an answer names."""
            found.extend(answer.headers.get_list(SESSION_HEADER))

        http.event_hooks["response"].append(note_session)
        transport = streamable_http_client(self.url, http_client=http)
        async with Client(transport, mode=mode, elicitation_callback=ask_person, **options) as client:
            if found:
                self.session_ids[owner] = found[0]
            yield client


@asynccontextmanager
async def open_tenancy(
    provider: KeyedProvider, address: str, folder: Path, *, clock: Clock | None = None, **changes: Any
) -> AsyncIterator[Tenancy]:
    """Serve people whose shared account is that of `SHARED_KEY`, and who may bring other keys."""
    folder.mkdir(parents=True, exist_ok=True)
    files = frozenset(account.addresses.files_url for account in provider.accounts.values())
    values: dict[str, Any] = {
        "providers": (ProviderSettings("magnific", address, SHARED_KEY, {"file_origins": files}),),
        "home": folder / "home",
        "output_dir": folder / "outputs",
        "file_roots": (folder,),
        "wait_seconds": PATIENCE_SECONDS,
        "requests_per_minute": 0,
        "http": HttpSettings(should_accept_own_keys=True, requests_per_minute=100_000),
        **changes,
    }
    async with open_assembly(Settings(**values), clock=clock, pace=QUICK, accepts_own_keys=True) as assembly:
        marks, keys = None, list[bytes]()
        if assembly.cluster is not None:
            marks = assembly.cluster.used_marks
            keys = load_signer(assembly.workspace.settings.home).derive_keys(Purpose.QUESTION)
        server = build_server(assembly.tenants, assembly.file_threads, assembly.first_list, marks, keys)
        with listen(Address("127.0.0.1", 0)) as listener:
            place = Address(*listener.getsockname()[:2])
            authenticator = Authenticator(assembly.workspace.store, assembly.workspace.clock.now)
            app = build_app(server, place, build_site(assembly, place, EndOfTest(), authenticator))
            web = HttpServer(app, log_level=logging.CRITICAL, lifespan="on")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(web.serve, [listener])
                async with AsyncExitStack() as people:
                    yield Tenancy(provider, assembly, server, place.origin, people)
                server.close_streams()
                web.should_exit = True


def get_facts(result: Any) -> dict[str, Any]:
    """Return the structured answer of a tool."""
    facts = result.structured_content
    assert isinstance(facts, dict), result
    return facts
