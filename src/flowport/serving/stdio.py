"""Serve one client on standard input and output."""

import logging
from typing import Any

import anyio.abc
from mcp.server import Server
from mcp.server.stdio import stdio_server

from flowport.serving.ending import End

logger = logging.getLogger(__name__)


async def serve(server: Server[Any], tasks: anyio.abc.TaskGroup, end: End) -> None:
    """Serve until the end is asked for, which the end of standard input does too.

    Args:
        tasks: Where the reading goes on; the thread under it never returns, so nobody may wait for it.
    """
    tasks.start_soon(_speak, server, end)
    await end.asked.wait()


async def _speak(server: Server[Any], end: End) -> None:
    try:
        async with stdio_server() as (reader, writer):
            await server.run(reader, writer, server.create_initialization_options())
    except Exception:  # the boundary of the process: without it a broken pipe would leave us running unheard
        logger.exception("the connection to the client has broken")
        end.ask(code=1)
    else:
        end.ask()
