"""Serve one client on standard input and output."""

import logging
from functools import partial
from typing import Final

import anyio
import anyio.abc

from flowport.clients import STDIO
from flowport.deliveries import Deliveries
from flowport.server import FlowportServer
from flowport.serving.ending import End
from flowport.serving.hearing import MendingReader
from flowport.serving.pipes import LineReader, LineWriter, open_pipes

logger = logging.getLogger(__name__)

DRAINING_SECONDS: Final = 0.8
"""How long, at the end, what was answered already may take to be written. The client may have closed one side alone."""


async def serve(server: FlowportServer, tasks: anyio.abc.TaskGroup, end: End) -> None:
    """Serve until the end is asked for, which the end of standard input does too.

    Args:
        tasks: Where reading and writing go on; a thread under them may never return, so nobody may wait for it.
    """
    deliveries = server.deliveries or Deliveries(lambda _: None)
    deliveries.expect_confirmation(STDIO)
    reader, writer = open_pipes(end.ask, partial(deliveries.confirm, STDIO))
    tasks.start_soon(_write, writer, end)
    tasks.start_soon(_speak, server, reader, writer, end)
    await end.asked.wait()
    with anyio.move_on_after(DRAINING_SECONDS):
        await writer.drain()
    deliveries.lose_unwritten(STDIO)


async def _write(writer: LineWriter, end: End) -> None:
    try:
        await writer.write_waiting()
    except OSError as exc:
        logger.warning("the client does not read our standard output any more: %s", exc.strerror)
        end.ask(code=1)


async def _speak(server: FlowportServer, reader: LineReader, writer: LineWriter, end: End) -> None:
    try:
        await server.run(MendingReader(reader.receive, writer.send), writer, server.create_initialization_options())
    except Exception:  # the boundary of the process: without it a broken pipe would leave us running unheard
        logger.exception("the connection to the client has broken")
        end.ask(code=1)
    else:
        end.ask()
