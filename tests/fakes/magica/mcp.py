"""Magica's own MCP endpoint: streamable HTTP with JSON answers and no session, in the protocol of the handshake.

Written by hand: the sandbox shares nothing but the wire with those who test against it.
"""

import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowport.sandbox.web import Refused, get_message
from tests.fakes.magica.answering import Call, perform, read_call
from tests.fakes.magica.mcp_tools import OPERATIONS, call_tool, has_tool, list_tools
from tests.fakes.magica.refusals import Denied
from tests.fakes.magica.workflows import find_workflow
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.traffic import Operation

VERSIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26")
"""Protocol versions, newest first."""

MCP_FACE: Final = "magica_mcp"
"""Under which these messages are counted, whatever else they are."""

_INVALID_REQUEST: Final = -32600
_UNKNOWN_METHOD: Final = -32601
_INVALID_PARAMS: Final = -32602


def build_mcp_routes(state: SandboxState) -> list[Route]:
    """Build the route of the endpoint; other methods than POST are refused, as a server without streams does."""

    async def answer(request: Request) -> Response:
        """Answer a message."""
        call = await read_call(state, request)
        operation, app_id = _get_operation(state, call.body), _get_app_id(state, call.body)
        return await perform(state, call, operation, _answer, app_id, face=MCP_FACE)

    return [Route("/mcp", answer, methods=["POST"])]


def _get_operation(state: SandboxState, message: Any) -> Operation:
    """Return what a message asks for, so that starts are counted and broken as starts, whatever way they come."""
    name, arguments = _read_tool_call(message)
    operation = OPERATIONS.get(name, Operation.MCP)
    is_dry = operation is Operation.RUN and state.magica.dialect.has_dry_run and arguments.get("values") is None
    return Operation.MCP if is_dry else operation


def _get_app_id(state: SandboxState, message: Any) -> str | None:
    """Return which app a tool call is about, for the faults that wait for one; names are not looked up."""
    _, arguments = _read_tool_call(message)
    workflow = find_workflow(state.shelf.apps, str(arguments.get("workflow")))
    return workflow.app.id if workflow else state.magica.records.get_app_id(str(arguments.get("runId")))


def _read_tool_call(message: Any) -> tuple[str, dict[str, Any]]:
    """Return the tool that a message calls and its arguments; nothing and none for any other message."""
    params = message.get("params") if isinstance(message, dict) and message.get("method") == "tools/call" else None
    if not isinstance(params, dict):
        return "", {}
    arguments = params.get("arguments")
    return str(params.get("name")), arguments if isinstance(arguments, dict) else {}


async def _answer(state: SandboxState, call: Call) -> Response:
    if not state.magica.dialect.has_mcp:
        raise Denied(404, get_message(404))
    message = call.body
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        return _build_error(None, _INVALID_REQUEST, "Invalid Request", 400)
    if message.get("id") is None:
        return Response(status_code=202)  # a notification
    return await _answer_request(state, call, message)


async def _answer_request(state: SandboxState, call: Call, message: dict[str, Any]) -> Response:
    match message["method"]:
        case "initialize":
            return _build_result(message, _introduce(message))
        case "ping":
            return _build_result(message, {})
        case "tools/list":
            return _build_result(message, {"tools": list_tools(state.magica.dialect)})
        case "tools/call":
            return await _call(state, call, message)
        case method:
            return _build_error(message["id"], _UNKNOWN_METHOD, f"Method not found: {ascii(method)[:80]}")


def _introduce(message: dict[str, Any]) -> dict[str, Any]:
    params = message.get("params")
    wanted = params.get("protocolVersion") if isinstance(params, dict) else None
    return {
        "protocolVersion": wanted if wanted in VERSIONS else VERSIONS[0],
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": "magica-sandbox", "version": "1.0.0"},
    }


async def _call(state: SandboxState, call: Call, message: dict[str, Any]) -> Response:
    name, arguments = _read_tool_call(message)
    if not has_tool(name, state.magica.dialect):
        return _build_error(message["id"], _INVALID_PARAMS, f"Unknown tool: {ascii(name)[:80]}")
    try:
        reported, is_error = await call_tool(state, call.key, name, arguments), False
    except Denied as denied:
        reported, is_error = {"error": denied.message, "code": denied.code}, True
    except Refused as refused:
        reported, is_error = {"error": refused.message}, True
    content = [{"type": "text", "text": json.dumps(reported)}]
    return _build_result(message, {"content": content, "structuredContent": reported, "isError": is_error})


def _build_result(message: dict[str, Any], result: dict[str, Any]) -> Response:
    return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})


def _build_error(message_id: Any, code: int, message: str, status: int = 200) -> Response:
    error = {"code": code, "message": message}
    return JSONResponse({"jsonrpc": "2.0", "id": message_id, "error": error}, status)
