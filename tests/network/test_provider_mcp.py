"""The door to a provider's own MCP server: sessions against real servers over HTTP, good, absent, broken and hostile."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowport.domain.errors import Breakage, DayUsedUp, Operation, ProviderUnreachable
from flowport.domain.models import JsonValue
from flowport.network import provider_mcp as provider_tools
from flowport.network.api_client import Location
from flowport.network.provider_mcp import MAX_PAGES, call_tool
from flowport.providers.interface import ApiAnswer, ToolOffer, ToolRequest
from tests.support.fake_clock import wait_until_blocked

KEY = "gx_a-key-that-must-not-come-back"
Answer = Callable[[dict[str, Any]], Any]


class Server:
    """A small MCP server of the handshake, whose answers a test decides."""

    def __init__(self) -> None:
        self.tools: list[dict[str, Any]] = [build_tool("upload_file", "url")]
        self.result: dict[str, Any] = {"content": [], "structuredContent": {"url": "https://x/y.png"}}
        self.response: Callable[[], Response] | None = None
        self.is_endless = False
        self.before_answer = anyio.lowlevel.checkpoint
        """Awaited before each answer."""
        self.calls: list[dict[str, Any]] = []
        self.requests = 0
        self.keys: set[str] = set()

    async def answer(self, request: Request) -> Response:
        """Answer one message."""
        self.requests += 1
        await self.before_answer()
        self.keys.add(request.headers.get("authorization", ""))
        if self.response is not None:
            return self.response()
        message = json.loads(await request.body())
        if "id" not in message:
            return Response(status_code=202)
        result = self._build_result(message)
        if result is None:
            error = {"code": -32601, "message": "Method not found"}
            return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _build_result(self, message: dict[str, Any]) -> dict[str, Any] | None:
        if message["method"] == "initialize":
            return {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "s", "version": "1"},
            }
        if message["method"] == "tools/list":
            more = {"nextCursor": str(self.requests)} if self.is_endless else {}
            return {"tools": self.tools, **more}
        if message["method"] == "tools/call":
            self.calls.append(message["params"])
            return self.result
        return None


def build_tool(name: str, *arguments: str) -> dict[str, Any]:
    """Return a tool as a server lists it."""
    properties = {argument: {"type": "string"} for argument in arguments}
    return {"name": name, "description": "d", "inputSchema": {"type": "object", "properties": properties}}


@asynccontextmanager
async def serve(server: Server) -> AsyncIterator[Location]:
    """Serve on a free port of this machine."""
    app = Starlette(routes=[Route("/api/mcp", server.answer, methods=["POST", "GET", "DELETE"])])
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=0)
    runner = uvicorn.Server(config)
    runner.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    async with anyio.create_task_group() as group:
        group.start_soon(runner.serve)
        with anyio.fail_after(60):
            while not runner.started:
                await anyio.lowlevel.checkpoint()
        port = runner.servers[0].sockets[0].getsockname()[1]
        yield Location(f"http://127.0.0.1:{port}/api", {"authorization": f"Bearer {KEY}"}, KEY, is_loopback=True)
        runner.should_exit = True


async def call(location: Location, arguments: Mapping[str, JsonValue] | None = None, **changes: Any) -> ApiAnswer:
    """Call the tool with these arguments, or with a URL."""
    given = {"url": "https://a/b.png"} if arguments is None else arguments
    request = ToolRequest(Operation.REQUEST_UPLOAD, "upload_file", lambda _: given)
    return await call_tool(request, location, "Magica", **{"take": anyio.lowlevel.checkpoint, **changes})


async def test_a_tool_is_called_once_with_what_its_description_asks_for() -> None:
    """The key travels with every request of the session."""
    server, offers = Server(), list[ToolOffer]()

    def build(offer: ToolOffer) -> Mapping[str, JsonValue]:
        """Look at the tool first."""
        offers.append(offer)
        return {"url": "https://a/b.png"}

    async with serve(server) as location:
        request = ToolRequest(Operation.REQUEST_UPLOAD, "upload_file", build)
        answer = await call_tool(request, location, "Magica", take=anyio.lowlevel.checkpoint)
    assert (answer.status, json.loads(answer.body)) == (200, {"url": "https://x/y.png"})
    assert offers == [ToolOffer("upload_file", "d", frozenset({"url"}))]
    assert [(one["name"], one["arguments"]) for one in server.calls] == [("upload_file", {"url": "https://a/b.png"})]
    assert server.keys == {f"Bearer {KEY}"}


async def test_each_request_but_the_first_is_taken_from_the_budget() -> None:
    """The first was taken by anyone who called."""
    server, taken = Server(), 0

    async def take() -> None:
        """Count one."""
        nonlocal taken
        taken += 1

    async with serve(server) as location:
        await call(location, take=take)
    assert taken == server.requests - 1


@pytest.mark.parametrize(
    ("result", "status", "body"),
    [
        ({"content": [{"type": "text", "text": '{"a": 1}'}]}, 200, {"a": 1}),
        ({"content": [{"type": "text", "text": "plain"}]}, 200, {"text": "plain"}),
        ({"content": [{"type": "text", "text": "no"}], "isError": True}, 400, {"message": "no"}),
        ({"content": [], "structuredContent": {"error": "e"}, "isError": True}, 400, {"error": "e"}),
        ({"content": [{"type": "text", "text": KEY}]}, 200, {"text": "[API key]"}),
    ],
)
async def test_what_a_tool_returns_reads_like_an_answer(result: dict[str, Any], status: int, body: Any) -> None:
    """One parser serves both ways; our key goes no further."""
    server = Server()
    server.result = result
    async with serve(server) as location:
        answer = await call(location)
    assert (answer.status, json.loads(answer.body)) == (status, body)


async def test_a_tool_that_is_not_there_or_must_not_be_called_is_not_called() -> None:
    """Anyone who asked has another way, or says why not."""
    server = Server()
    async with serve(server) as location:
        request = ToolRequest(Operation.DESCRIBE_APP, "upload_file", lambda _: None)
        unfit = await call_tool(request, location, "Magica", take=anyio.lowlevel.checkpoint)
        server.tools = []
        missing = await call(location)
        server.tools = [{"name": "upload_file", "inputSchema": {"type": "object"}}]
        bare = await call(location)
    assert (unfit.status, missing.status, bare.status, len(server.calls)) == (405, 404, 200, 1)


async def test_an_endless_list_of_tools_has_an_end() -> None:
    """A hostile server must not hold us forever."""
    server = Server()
    server.tools, server.is_endless = [], True
    async with serve(server) as location:
        assert (await call(location)).status == 404
    assert server.requests <= MAX_PAGES + 4


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (lambda: JSONResponse({"message": "no"}, 401), 401),
        (lambda: JSONResponse({"message": "no"}, 403), 403),
        (lambda: Response(status_code=404), 404),
        (lambda: Response("x", 500), 500),
        (lambda: JSONResponse({}, 429, {"retry-after": "3"}), 429),
        (lambda: Response("<html>", media_type="text/html"), 502),
        (lambda: JSONResponse({"a": 1}), 502),
        (lambda: Response(status_code=307, headers={"location": "http://127.0.0.1:9/api/mcp"}), 502),
    ],
)
async def test_a_server_that_does_not_talk_is_an_answer_with_its_status(
    response: Callable[[], Response], status: int
) -> None:
    """The parser makes a refusal of it; a redirect is not followed, since it would carry the key away."""
    server = Server()
    server.response = response
    async with serve(server) as location:
        answer = await call(location)
    assert answer.status == status
    assert answer.headers.get("retry-after") == ("3" if status == 429 else None)


async def test_no_one_there_is_said_so() -> None:
    """Like any other request without an answer."""
    location = Location("http://127.0.0.1:9/api", {}, KEY, is_loopback=True)
    with pytest.raises(ProviderUnreachable) as caught:
        await call(location)
    assert caught.value.breakage is Breakage.NO_CONNECTION


async def test_a_session_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes a request and says nothing would hold the app forever."""
    monkeypatch.setattr(provider_tools, "CALL_SECONDS", 0.2)
    server = Server()
    server.before_answer = anyio.sleep_forever
    async with serve(server) as location:
        with pytest.raises(ProviderUnreachable) as caught:
            await call(location)
    assert caught.value.breakage is Breakage.NO_ANSWER


async def test_waiting_for_the_budget_is_not_a_time_of_the_session() -> None:
    """The server is not slow because we are frugal; between the waits its time is limited."""
    waits, works = list[float](), list[float]()

    async def take() -> None:
        """Note until when the session may last."""
        waits.append(anyio.current_effective_deadline())

    def build(_: ToolOffer) -> Mapping[str, JsonValue]:
        """Note the same."""
        works.append(anyio.current_effective_deadline())
        return {}

    async with serve(Server()) as location:
        request = ToolRequest(Operation.REQUEST_UPLOAD, "upload_file", build)
        await call_tool(request, location, "Magica", take=take)
    assert set(waits) == {inf}
    assert works[0] < inf


async def test_the_time_goes_on_when_the_last_request_has_its_turn() -> None:
    """A session's requests may wait side by side."""
    scope, turns, began = anyio.CancelScope(deadline=anyio.current_time() + 60), [anyio.Event(), anyio.Event()], 0
    request, deadlines = httpx2.Request("POST", "http://127.0.0.1"), list[float]()

    async def take() -> None:
        """Wait for a turn."""
        nonlocal began
        began += 1
        await turns[began - 1].wait()

    session = provider_tools._Session(take, scope)
    await session.note_request(request)
    async with anyio.create_task_group() as group:
        for _ in turns:
            group.start_soon(session.note_request, request)
        for turn in turns:
            await wait_until_blocked()
            deadlines.append(scope.deadline)
            turn.set()
    assert deadlines == [inf, inf]
    assert scope.deadline < inf


@pytest.mark.parametrize("last", range(6))
async def test_a_refusal_of_the_budget_comes_out_as_itself_until_the_tool_has_answered(last: int) -> None:
    """It is neither a mistake nor the server's fault; and what was answered stays answered, however the session ends."""
    server, taken = Server(), 0
    refusal = DayUsedUp("Magica", Operation.REQUEST_UPLOAD, 60.0)

    async def take() -> None:
        """Allow so many."""
        nonlocal taken
        taken += 1
        if taken > last:
            raise refusal

    async with serve(server) as location:
        try:
            answer: object = (await call(location, take=take)).status
        except DayUsedUp as exc:
            answer = exc
    assert answer == (200 if server.calls else refusal)
    assert bool(server.calls) == (last > 3)


async def test_a_mistake_of_our_own_is_not_taken_for_the_server_s() -> None:
    """It has to be received of."""

    def fail(_: ToolOffer) -> None:
        """Be wrong."""
        raise KeyError("ours")

    async with serve(Server()) as location:
        request = ToolRequest(Operation.DESCRIBE_APP, "upload_file", fail)
        with pytest.raises(ExceptionGroup) as caught:
            await call_tool(request, location, "Magica", take=anyio.lowlevel.checkpoint)
    assert caught.group_contains(KeyError)


async def test_the_note_of_a_response_has_its_headers_in_lower_case() -> None:
    """`Retry-After` is looked up so."""
    session = provider_tools._Session(anyio.lowlevel.checkpoint)
    await session.note_response(httpx2.Response(429, headers={"Retry-After": "3"}))
    assert session.last.headers["retry-after"] == "3"
