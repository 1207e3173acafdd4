"""Requests by their ids: give each a unique id before the library gets it, and cancel it.

The protocol's library treats 7 and "7" as the same id and loses one of two requests with the same id. A request whose id
is in use, or was used and got no answer, is passed on under a new id.
"""

import secrets
from collections import OrderedDict
from typing import Final

from flowport.runtime.exchange import Exchange, RequestId

MAX_KEPT: Final = 4096
"""Finished requests that are kept, so that a late cancellation finds its delivery."""


class Request:
    """One request between the client and the library."""

    def __init__(self, connection: str, request_id: RequestId, inner_id: RequestId) -> None:
        self.connection = connection
        self.id = request_id
        """The client's id."""
        self.inner_id = inner_id
        """The id that the library gets."""
        self.exchange = Exchange(request_id)

    @property
    def is_renamed(self) -> bool:
        """Whether the library has another id for it than the client."""
        return self.inner_id != self.id


class RequestTable:
    """The requests of any number of connections."""

    def __init__(self) -> None:
        self._by_inner_id: dict[tuple[str, str], Request] = {}
        """Requests whose id must not be given to the library again."""
        self._over: OrderedDict[Request, None] = OrderedDict()
        """Finished requests, answered or not, the oldest first."""
        self._by_id: dict[tuple[str, type, RequestId], list[Request]] = {}

    def begin(self, connection: str, request_id: RequestId) -> Request:
        """Register a request."""
        inner_id = request_id
        if (connection, str(request_id)) in self._by_inner_id:
            inner_id = f"flowport-{secrets.token_hex(8)}"
        request = Request(connection, request_id, inner_id)
        self._by_inner_id[connection, str(inner_id)] = request
        self._by_id.setdefault(_build_key(connection, request_id), []).append(request)
        return request

    def find(self, connection: str, inner_id: RequestId) -> Request | None:
        """Return the request with this id at the library."""
        return self._by_inner_id.get((connection, str(inner_id)))

    def end(self, request: Request, *, is_answered: bool) -> None:
        """Record that a request is over. Without an answer the library may still process it, so its id stays in use."""
        key = (request.connection, str(request.inner_id))
        if is_answered and self._by_inner_id.get(key) is request:
            del self._by_inner_id[key]
        self._keep(request)

    def find_inner_ids(self, connection: str, request_id: RequestId) -> list[RequestId]:
        """Return the library's ids of the requests that a cancellation means; the id itself if there are none."""
        return [one.inner_id for one in self._find_meant(connection, request_id)] or [request_id]

    def _find_meant(self, connection: str, request_id: RequestId) -> list[Request]:
        """Return the requests in progress with a client's id, else the last one."""
        requests = self._by_id.get(_build_key(connection, request_id), [])
        return [one for one in requests if one.exchange.is_open] or requests[-1:]

    def cancel(self, connection: str, request_id: RequestId) -> list[Request]:
        """Record that the client cancelled the requests in progress with this id, else the last one; return them."""
        meant = self._find_meant(connection, request_id)
        for request in meant:
            request.exchange.note_cancelled()
            self._keep(request)
        return meant

    def _keep(self, request: Request) -> None:
        """Keep a finished request until newer ones need its room."""
        self._over[request] = None
        while len(self._over) > MAX_KEPT:
            self._forget(self._over.popitem(last=False)[0])

    def _forget(self, request: Request) -> None:
        key, id_key = (request.connection, str(request.inner_id)), _build_key(request.connection, request.id)
        if self._by_inner_id.get(key) is request:
            del self._by_inner_id[key]
        others = [one for one in self._by_id[id_key] if one is not request]
        if others:
            self._by_id[id_key] = others
        else:
            del self._by_id[id_key]


def _build_key(connection: str, request_id: RequestId) -> tuple[str, type, RequestId]:
    return connection, type(request_id), request_id
