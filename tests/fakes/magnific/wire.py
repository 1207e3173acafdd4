"""Answers that are not answers: a closed or reset connection, half a body, bytes that are not HTTP.

An ASGI application cannot touch its connection. `RawProtocol` therefore puts the connection's transport into
the state that uvicorn hands to every request, and `RawAnswer` writes to it past the HTTP machinery.
"""

import asyncio
import socket
import struct
import sys

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flowport.sandbox.serve import TransportProtocol


class RawProtocol(TransportProtocol):
    """The sandbox's HTTP/1.1 protocol, with the transport within reach of the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        """Give this connection a state of its own that holds its transport."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class RawAnswer(Response):
    """Bytes put on the connection as they are, after which it closes."""

    def __init__(self, payload: bytes = b"", *, is_reset: bool = False) -> None:
        """Keep what to send; `is_reset` drops it and the connection with a TCP reset."""
        super().__init__()
        self.payload = payload
        self.is_reset = is_reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write, close, and wait until the server has noticed, so that it does not try to answer itself."""
        transport: asyncio.Transport = scope["state"]["transport"]
        if self.is_reset:
            # Lingering for no time at all makes the kernel send RST instead of FIN.
            linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        else:
            transport.write(self.payload)
            transport.close()
        request = Request(scope, receive, send)
        while (await request.receive())["type"] != "http.disconnect":
            pass


def truncate(response: Response) -> RawAnswer:
    """Turn a complete answer into its headers and the first half of its body."""
    body = bytes(response.body)
    headers = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
    return RawAnswer(b"HTTP/1.1 %d \r\n%s\r\n%s" % (response.status_code, headers, body[: len(body) // 2]))
