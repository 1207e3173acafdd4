"""Limit the connections of the web server: how many there are, and how long a client may take to send what it owes.

The web server itself waits without a limit for the head of a request, and for its body, so that a few slow clients could hold every
connection. Here a request has to begin and its head to arrive within a time, and a body has to advance.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

CONNECTION_KEY: Final = "flowport.connection"
"""Where the scope of a request keeps its connection, which can be watched without a task that waits for its end."""

SPARE_CONNECTIONS: Final = 64
"""Above the limit so many more are answered that the server is full; further ones are closed at once."""

HEAD_SECONDS: Final = 20.0
"""How long a client may take until the head of its request is there."""

BODY_SECONDS: Final = 20.0
"""How long a client may take for a piece of a body."""

PIECE_BYTES: Final = 16_384
"""What has to arrive of a body in that time, or the rest of it."""

REFUSAL_SECONDS: Final = 5.0
"""How long a refused client may take to send the request that is refused."""

KEEP_ALIVE_SECONDS: Final = 75
"""How long an idle connection is kept; reverse proxies keep theirs for a minute, and must be the ones to close it."""

_FULL: Final = b"Flowport has as many connections as it takes. Nothing was started; try again in a moment."
_REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
)
_CLOSE: Final = (b"connection", b"close")
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class LimitedProtocol(H11Protocol):
    """One connection of a web server whose connections are limited."""

    max_connections = 0
    """0 for no limit; `build_protocol` sets it."""
    head_seconds = HEAD_SECONDS
    body_seconds = BODY_SECONDS

    _deadline: asyncio.TimerHandle | None = None
    _piece_bytes = 0
    _is_refused = False
    _is_ending = False
    _is_lost = False
    _on_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it because there are too many."""
        super().connection_made(transport)
        count = len(self.connections)
        if self.max_connections and count > self.max_connections + SPARE_CONNECTIONS:
            transport.abort()
            return
        self._is_refused = bool(self.max_connections) and count > self.max_connections
        self._await_within(REFUSAL_SECONDS if self._is_refused else self.head_seconds)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        if self._is_refused:
            self.transport.write(_REFUSAL)
            self.transport.close()
            return
        was_in_body = self._is_in_body()
        super().data_received(data)
        if self.scope is not None:
            # The request's task begins in a later turn of the event loop.
            self.scope[CONNECTION_KEY] = self  # type: ignore[typeddict-unknown-key]
            if self._is_ending:
                self._announce_end()
        if self.transport.is_closing() or not self._is_owing():
            self._stop_waiting()
            return
        self._piece_bytes += len(data)
        # The head has its time from its first byte on, however it trickles; a body has it for each piece.
        if self._deadline is None or (self._is_in_body() and (self._piece_bytes >= PIECE_BYTES or not was_in_body)):
            self._await_within(self.body_seconds if self._is_in_body() else self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._stop_waiting()
        super().connection_lost(exc)
        self._is_lost = True
        if self._on_lost is not None:
            self._on_lost()

    @property
    def has_served(self) -> bool:
        """Whether a request has come over it."""
        # The library declares it as never None, which it is before the first request.
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None

    def end_with_next_answer(self) -> None:
        """Close the connection after its next answer, or after the one that is being sent."""
        self._is_ending = True
        if self.has_served:
            self._announce_end()

    def close_idle(self) -> None:
        """Close the connection if a request has come over it, and none is being answered."""
        if self.has_served and self.cycle.response_complete:
            self.shutdown()

    def _announce_end(self) -> None:
        if _CLOSE not in self.cycle.default_headers:
            # Of this answer alone: the list belongs to the server.
            self.cycle.default_headers = [*self.cycle.default_headers, _CLOSE]
        self.cycle.keep_alive = False

    def watch(self, on_lost: Callable[[], None] | None) -> None:
        """Call back when the connection is lost, at once if it is; None to forget the callback."""
        self._on_lost = on_lost
        if on_lost is not None and self._is_lost:
            on_lost()

    def _is_owing(self) -> bool:
        """Return whether the client still owes a part of a request."""
        return self._is_in_body() or self.conn.their_state is h11.IDLE

    def _is_in_body(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY

    def _await_within(self, seconds: float) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        self._piece_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            # It is us who do not read.
            self._await_within(self.body_seconds)
            return
        # The library declares it as never None, which it is before the first request.
        cycle: RequestResponseCycle | None = self.cycle
        is_answered = cycle is not None and cycle.response_started and not cycle.response_complete
        if not self._is_refused and not is_answered:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


def build_protocol(
    max_connections: int, *, head_seconds: float = HEAD_SECONDS, body_seconds: float = BODY_SECONDS
) -> type[Any]:
    """Return the protocol of a web server with these limits."""
    limits = {"max_connections": max_connections, "head_seconds": head_seconds, "body_seconds": body_seconds}
    return type("LimitedProtocol", (LimitedProtocol,), limits)


def find_limited(connections: Iterable[object]) -> list[LimitedProtocol]:
    """Return those of a server's connections that are limited, as of now."""
    return [one for one in connections if isinstance(one, LimitedProtocol)]
