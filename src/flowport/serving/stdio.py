"""Serve one client on standard input and output."""

import logging

import anyio.abc

from flowport.clients import STDIO
from flowport.server import FlowportServer
from flowport.serving.ending import End
from flowport.serving.hearing import MendingReader
from flowport.serving.pipes import LineWriter, open_pipes

logger = logging.getLogger(__name__)


async def serve(server: FlowportServer, tasks: anyio.abc.TaskGroup, end: End) -> None:
    """Serve until the end is asked for, which the end of standard input does too.

    Args:
        tasks: Where the reading goes on; the thread under it never returns, so nobody may wait for it.
    """
    writers: list[LineWriter] = []
    tasks.start_soon(_speak, server, end, writers)
    await end.asked.wait()
    if server.deliveries is not None:
        for writer in writers:
            for request_id in writer.get_unwritten():
                server.deliveries.lose(STDIO, request_id)


async def _speak(server: FlowportServer, end: End, writers: list[LineWriter]) -> None:
    try:
        async with open_pipes() as (reader, writer):
            writers.append(writer)
            await server.run(MendingReader(reader, writer.send), writer, server.create_initialization_options())
    except Exception:  # the boundary of the process: without it a broken pipe would leave us running unheard
        logger.exception("the connection to the client has broken")
        end.ask(code=1)
    else:
        end.ask()
