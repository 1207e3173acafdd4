"""Put tools to the converters of other people's clients; run by `tests/verify/test_converters.py` in their environment.

`convert.py FILE COMMAND...` reads generated tools from FILE, lists those of the MCP server that COMMAND starts, converts all of
them, calls one through each client that can, and prints what was refused as JSON.
"""

import asyncio
import json
import os
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agents.mcp import MCPServerStdio
from agents.mcp.util import MCPUtil
from agents.tool_context import ToolContext
from anthropic.lib.tools.mcp import async_mcp_tool
from fastmcp.client.transports import StdioTransport
from google.genai import types as gemini
from google.genai._adapters import McpToGenAiToolAdapter
from google.genai._mcp_utils import mcp_to_gemini_tools
from langchain_mcp_adapters.tools import convert_mcp_tool_to_langchain_tool
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.types import Tool
from pydantic_ai._json_schema import InlineDefsJsonSchemaTransformer
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.profiles.google import GoogleJsonSchemaTransformer, GoogleOpenAPISchemaTransformer
from pydantic_ai.profiles.openai import OpenAIJsonSchemaTransformer
from pydantic_ai.providers.anthropic import AnthropicJsonSchemaTransformer

CALLED = "sandbox_text_to_picture"
ARGUMENTS = {"prompt": "a lake in the morning"}
SESSION_SECONDS = 120.0

Converter = Callable[[Any], None]


def build_converters(session: Any) -> dict[str, Converter]:
    """Return the converters by the names of the table."""
    server = MCPServerStdio({"command": "none"}, name="flowport")

    def convert_openai(tool: Any, *, is_strict: bool) -> None:
        """Convert as an agent does before each turn; strict or not, it must not fall back."""
        function = MCPUtil.to_function_tool(tool, server, is_strict)
        expect(function.strict_json_schema == is_strict, "fell back to a schema that is not strict")
        expect(function.params_json_schema["properties"], "an object without properties")

    def convert_google(tool: Any) -> None:
        """Convert as the client does when a session is among its tools; the API then refuses what is checked here."""
        (converted,) = mcp_to_gemini_tools([tool])
        (declaration,) = converted.function_declarations or []
        check_gemini(declaration.parameters)
        mcp_to_gemini_tools([tool], is_agent_platform=True)

    def convert_anthropic(tool: Any) -> None:
        """Convert as for the tool runner."""
        params = async_mcp_tool(tool, session).to_dict()
        expect(params["input_schema"]["properties"], "an object without properties")

    def convert_langchain(tool: Any) -> None:
        """Convert, and say it as chat models are told."""
        converted = convert_mcp_tool_to_langchain_tool(session, tool)
        expect(set(converted.args) == set(tool.inputSchema["properties"]), "arguments were lost")
        converted.tool_call_schema  # noqa: B018  # it is made when it is asked for

    def convert_pydantic(tool: Any) -> None:
        """Convert for each family of models that has rules of its own."""
        transformers = (
            *(OpenAIJsonSchemaTransformer, AnthropicJsonSchemaTransformer, InlineDefsJsonSchemaTransformer),
            *(GoogleJsonSchemaTransformer, GoogleOpenAPISchemaTransformer),
        )
        for transformer in transformers:
            for strict in (None, False, True):
                schema = transformer(json.loads(json.dumps(tool.inputSchema)), strict=strict).walk()
                expect(set(schema["properties"]) == set(tool.inputSchema["properties"]), "arguments were lost")

    return {
        "openai-agents, strict": lambda tool: convert_openai(tool, is_strict=True),
        "openai-agents": lambda tool: convert_openai(tool, is_strict=False),
        "google-genai": convert_google,
        "anthropic": convert_anthropic,
        "langchain-mcp-adapters": convert_langchain,
        "pydantic-ai": convert_pydantic,
    }


def expect(is_so: Any, problem: str) -> None:
    """Refuse the tool unless something is so."""
    if not is_so:
        raise ValueError(problem)


def check_gemini(schema: Any) -> None:
    """Refuse what Gemini's API answers with 400: enums of no text, objects without properties, arrays without items."""
    expect(schema is not None and schema.type is not None, "no type")
    for one in schema.enum or []:
        expect(isinstance(one, str) and one, f"the enum holds {one!r}")
    if schema.enum:
        expect(schema.type is gemini.Type.STRING, "an enum of another type than text")
    if schema.type is gemini.Type.OBJECT:
        expect(schema.properties, "an object without properties")
        for inner in schema.properties.values():
            check_gemini(inner)
    if schema.type is gemini.Type.ARRAY:
        expect(schema.items, "an array without items")
        check_gemini(schema.items)


@asynccontextmanager
async def connect(command: Sequence[str], **more: str) -> AsyncIterator[ClientSession]:
    """Connect to a server over its standard input and output."""
    server = StdioServerParameters(command=command[0], args=list(command[1:]), env={**os.environ, **more})
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        yield session


async def call_anthropic(session: ClientSession, tool: Tool, command: Sequence[str]) -> str:
    """Call through the Anthropic client's tool."""
    blocks: Any = await async_mcp_tool(tool, session).call(ARGUMENTS)
    return json.dumps(blocks, default=str)


async def call_langchain(session: ClientSession, tool: Tool, command: Sequence[str]) -> str:
    """Call through LangChain's tool."""
    blocks = await convert_mcp_tool_to_langchain_tool(session, tool).ainvoke(ARGUMENTS)
    kinds = {block["type"] for block in blocks}
    expect(
        kinds <= {"text", "image"} and not any("url" in block for block in blocks), f"the answer holds {kinds} or links"
    )
    return json.dumps(blocks)


async def call_openai(session: ClientSession, tool: Tool, command: Sequence[str]) -> str:
    """Call through the tool of the Agents SDK, over a server of its own."""
    parameters: Any = {
        "command": command[0],
        "args": list(command[1:]),
        "env": {**os.environ, "FLOWPORT_LINKS": "text"},
    }
    async with MCPServerStdio(parameters, client_session_timeout_seconds=SESSION_SECONDS) as server:
        function = MCPUtil.to_function_tool(tool, server, convert_schemas_to_strict=True)
        context: Any = ToolContext(
            None, tool_name=tool.name, tool_call_id="call_1", tool_arguments=json.dumps(ARGUMENTS)
        )
        return str(await function.on_invoke_tool(context, json.dumps(ARGUMENTS)))


async def call_pydantic(session: ClientSession, tool: Tool, command: Sequence[str]) -> str:
    """Call through Pydantic AI's toolset, over a server of its own."""
    transport = StdioTransport(command[0], list(command[1:]), env={**os.environ, "FLOWPORT_LINKS": "text"})
    async with MCPToolset(transport) as toolset:
        expect(tool.name in {one.name for one in await toolset.list_tools()}, "the tool is not listed")
        return str(await toolset.direct_call_tool(tool.name, ARGUMENTS))


async def call_google(session: ClientSession, tool: Tool, command: Sequence[str]) -> str:
    """Call as the client does by itself when the model asks for a function."""
    adapter = McpToGenAiToolAdapter(session, await session.list_tools())
    expect(len(adapter.tools) == len((await session.list_tools()).tools), "tools were lost")
    answer = await adapter.call_tool(gemini.FunctionCall(name=tool.name, args=ARGUMENTS))
    return str(answer.model_dump_json())


CALLERS: Mapping[str, Callable[[ClientSession, Tool, Sequence[str]], Awaitable[str]]] = {
    "anthropic": call_anthropic,
    "langchain-mcp-adapters": call_langchain,
    "openai-agents": call_openai,
    "pydantic-ai": call_pydantic,
    "google-genai": call_google,
}


def convert_all(converters: Mapping[str, Converter], tools: Sequence[Tool]) -> dict[str, dict[str, str]]:
    """Return what each converter refuses, with the reason, by the tool's name."""
    refused: dict[str, dict[str, str]] = {name: {} for name in converters}
    for name, convert in converters.items():
        for tool in tools:
            try:
                convert(tool)
            except Exception as exc:  # noqa: BLE001 - whatever a converter raises is a refusal
                refused[name][tool.name] = f"{type(exc).__name__}: {exc}"
    return refused


async def call_all(command: Sequence[str], links: str) -> dict[str, str]:
    """Call one tool through each client; an empty text for each call whose answer could be taken."""
    problems: dict[str, str] = {}
    async with connect(command, FLOWPORT_LINKS=links) as session:
        tool = next(one for one in (await session.list_tools()).tools if one.name == CALLED)
        for name, call in CALLERS.items():
            try:
                told = await call(session, tool, command)
                expect("saved_path" in told, f"the answer lacks the file: {told[:400]}")
                problems[name] = ""
            except Exception as exc:  # noqa: BLE001 - whatever a client raises has lost the answer
                problems[name] = "".join(traceback.format_exception_only(exc)).strip()
    return problems


async def main(generated: Path, command: Sequence[str]) -> None:
    """Convert and call, and print what came of it."""
    random = [Tool.model_validate(one) for one in json.loads(generated.read_text(encoding="utf-8"))]
    async with connect(command) as session:
        listed = (await session.list_tools()).tools
        converters = build_converters(session)
        found = {
            "listed": {"tools": len(listed), "refused": convert_all(converters, listed)},
            "generated": {"tools": len(random), "refused": convert_all(converters, random)},
        }
    calls = {links: await call_all(command, links) for links in ("text", "resource")}
    sys.stdout.write(json.dumps({**found, "calls": calls}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
