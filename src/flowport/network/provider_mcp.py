"""Calls of a provider's own MCP tools: the one door to the protocol's client, which is loaded when it is first needed.

Each call is a session of its own: the tool is looked up, its description decides whether and with what it is called, and
the session ends. What comes back is turned into what the API would answer, so that one parser serves both ways. Redirects
to another origin are not followed, so the key goes nowhere else.
"""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2

from flowport.domain.errors import ConfigurationError, FlowportError, Operation
from flowport.network.api_client import KeyRemover, Location, build_client, explain
from flowport.network.causes import RequestProgress
from flowport.providers.interface import ApiAnswer, ToolOffer, ToolRequest

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult, Tool

logger = logging.getLogger(__name__)

CALL_SECONDS: Final = 120.0
"""A whole session may take so long, a file's upload among its requests; waiting for the budget does not count."""

MAX_PAGES: Final = 10
"""Of the list of tools."""

_CONNECTIONS: Final = 4
"""Of one session: the server may keep one open for messages of its own."""

_FAILED: Final = 400
_MISSING: Final = 404
_UNFIT: Final = 405
_GARBLED: Final = 502


@dataclass(slots=True)
class _Session:
    """The requests of one session, by their count and what came back last, and what came of it all."""

    take: Callable[[], Awaitable[None]]
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Its time limit."""
    sent: int = 0
    waiting: int = 0
    """How many of its requests wait for the budget."""
    left_seconds: float = 0.0
    """What was left of the time limit when the first of them began to wait."""
    refusal: FlowportError | None = None
    """Why the budget did not allow a request; the protocol's client would wrap it, or say nothing of it."""
    answer: ApiAnswer | None = None
    """What the tool answered."""
    progress: RequestProgress = field(default_factory=RequestProgress)
    """Of the latest request."""
    last: ApiAnswer = field(default_factory=lambda: ApiAnswer(_GARBLED, {}, b""))

    async def note_request(self, request: httpx2.Request) -> None:
        """Take a request from the budget; the first one was taken by the caller."""
        self.progress = RequestProgress(self.progress.proxy)
        request.extensions = {**request.extensions, "trace": self.progress.note}
        self.sent += 1
        if self.sent == 1:
            return
        try:
            with self._stop_time():
                await self.take()
        except FlowportError as exc:
            self.refusal = self.refusal or exc
            self.scope.cancel()
            raise

    @contextmanager
    def _stop_time(self) -> Iterator[None]:
        """Suspend the time limit while any request waits."""
        if not self.waiting:
            self.left_seconds = self.scope.deadline - anyio.current_time()
            self.scope.deadline = inf
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            if not self.waiting:
                self.scope.deadline = anyio.current_time() + self.left_seconds

    async def note_response(self, response: httpx2.Response) -> None:
        """Remember the status: the protocol's client does not expose it."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        self.last = ApiAnswer(response.status_code, headers, b"")


async def call_tool(
    request: ToolRequest, location: Location, title: str, *, take: Callable[[], Awaitable[None]]
) -> ApiAnswer:
    """Call a tool once and return its answer, or why it has none.

    Args:
        title: The provider's, for an error.
        take: Awaited before each request of the session but the first.

    Raises:
        ProviderUnreachable: No answer came; the tool may have been called.
        FlowportError: What `take` raised, before the tool had answered.
    """
    session = _Session(take)
    try:
        with anyio.fail_after(CALL_SECONDS) as session.scope:
            async with _connect(request, location, session) as client:
                session.answer = await _call(client, request)
    except Exception as exc:  # noqa: BLE001 - what is not the server's comes out again
        # Once the tool has answered, a failure to end the session does not matter.
        if session.answer is None and session.refusal is None:
            return _explain(exc, session, location, title=title, operation=request.operation)
        logger.info("a session with %s broke off (%s)", title, type(_get_first(exc)).__name__)
    if session.answer is not None:
        return ApiAnswer(session.answer.status, {}, KeyRemover(location.api_key).remove(session.answer.body))
    raise session.refusal or AssertionError("a session that nothing ended has an answer")


def _explain(error: Exception, session: _Session, location: Location, *, title: str, operation: Operation) -> ApiAnswer:
    """Return what a session that failed says about the server.

    Raises:
        ProviderUnreachable: No answer came.
        Exception: It was not the server.
    """
    from mcp.shared.exceptions import MCPError  # noqa: PLC0415 - not before the first call

    first = _get_first(error)
    if isinstance(first, TimeoutError | httpx2.HTTPError | httpx2.InvalidURL | ConfigurationError) or (
        session.progress.is_connecting
    ):
        raise explain(first, session.progress, location, title, operation) from error
    if not isinstance(first, MCPError | ValueError):
        raise error
    logger.info("%s did not answer as an MCP server (%s)", title, type(first).__name__)
    is_refused = session.last.status >= _FAILED
    return session.last if is_refused else _build_answer(_GARBLED, {"message": "it is not an MCP server"})


@asynccontextmanager
async def _connect(request: ToolRequest, location: Location, session: _Session) -> AsyncIterator["Client"]:
    from mcp import Client  # noqa: PLC0415 - not before the first call
    from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415 - likewise

    built = build_client(location, _CONNECTIONS, keep_alive=1)
    session.progress.proxy = built.proxy
    async with built.http as http:
        http.event_hooks = {"request": [session.note_request], "response": [session.note_response]}
        async with Client(streamable_http_client(location.base_url + request.path, http_client=http)) as client:
            yield client


async def _call(client: "Client", request: ToolRequest) -> ApiAnswer:
    tool = await _find(client, request.tool)
    if tool is None:
        return _build_answer(_MISSING, {"message": f"its MCP server has no tool {request.tool}"})
    properties = tool.input_schema.get("properties")
    names = frozenset(properties) if isinstance(properties, dict) else frozenset[str]()
    arguments = request.build_arguments(ToolOffer(tool.name, tool.description or "", names))
    if arguments is None:
        return _build_answer(_UNFIT, {"message": f"its tool {request.tool} is not described as what is needed here"})
    result = await client.call_tool(request.tool, dict(arguments))
    return _build_answer(_FAILED if result.is_error else 200, _read_result(result))


async def _find(client: "Client", name: str) -> "Tool | None":
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        found = next((tool for tool in page.tools if tool.name == name), None)
        cursor = page.next_cursor
        if found is not None or cursor is None:
            return found
    return None


def _read_result(result: "CallToolResult") -> Any:
    """Return what a tool returned: its structured content, else its text as JSON, else the text."""
    if result.structured_content is not None:
        return result.structured_content
    text = "\n".join(block.text for block in result.content if block.type == "text")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {"message" if result.is_error else "text": text}


def _build_answer(status: int, body: Any) -> ApiAnswer:
    return ApiAnswer(status, {}, json.dumps(body).encode())


def _get_first(error: BaseException) -> BaseException:
    """Return the first error inside a group of them, which is what the client's tasks raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
