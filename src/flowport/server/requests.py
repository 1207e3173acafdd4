"""The requests of clients by their ids, as a transport needs them: to pass each on under an id of its own, and to cancel it.

The protocol's library takes 7 and "7" for the same id, and keeps what belongs to a request under it, so of two requests
with one id it loses one. A request whose id is taken, or was and got no answer, is passed on under an id made here.
"""

import secrets
from collections import OrderedDict
from typing import Final

from flowport.runs.delivery import Exchange, RequestId

MAX_KEPT: Final = 4096
"""Requests that are remembered after they are over, so that a late cancellation finds its delivery."""


class Request:
    """One request on its way to the library and back."""

    def __init__(self, connection: str, request_id: RequestId, inner_id: RequestId) -> None:
        self.connection = connection
        self.id = request_id
        """The id that the client gave."""
        self.inner_id = inner_id
        """The id under which the library knows it."""
        self.exchange = Exchange(request_id)

    @property
    def is_renamed(self) -> bool:
        """Whether the library knows it by another id than the client."""
        return self.inner_id != self.id


class RequestTable:
    """The requests of any number of connections."""

    def __init__(self) -> None:
        self._by_inner_id: dict[tuple[str, str], Request] = {}
        """Those whose id must not be given to the library again."""
        self._over: OrderedDict[Request, None] = OrderedDict()
        """Those that are answered, and those that ended without an answer, the oldest first."""
        self._by_id: dict[tuple[str, type, RequestId], list[Request]] = {}

    def begin(self, connection: str, request_id: RequestId) -> Request:
        """Take a request in."""
        inner_id = request_id
        if (connection, str(request_id)) in self._by_inner_id:
            inner_id = f"flowport-{secrets.token_hex(8)}"
        request = Request(connection, request_id, inner_id)
        self._by_inner_id[connection, str(inner_id)] = request
        self._by_id.setdefault(_build_key(connection, request_id), []).append(request)
        return request

    def find(self, connection: str, inner_id: RequestId) -> Request | None:
        """Return the request that the library knows by an id."""
        return self._by_inner_id.get((connection, str(inner_id)))

    def end(self, request: Request, *, is_answered: bool) -> None:
        """Note that a request is over. Without an answer the library may still be busy with it, so its id stays taken."""
        key = (request.connection, str(request.inner_id))
        if is_answered and self._by_inner_id.get(key) is request:
            del self._by_inner_id[key]
        self._keep(request)

    def find_inner_ids(self, connection: str, request_id: RequestId) -> list[RequestId]:
        """Return the ids under which the library knows what a cancellation of an id means; the id itself for none."""
        return [one.inner_id for one in self._find_meant(connection, request_id)] or [request_id]

    def _find_meant(self, connection: str, request_id: RequestId) -> list[Request]:
        """Return the requests in progress with an id of the client's, or else the last one."""
        requests = self._by_id.get(_build_key(connection, request_id), [])
        return [one for one in requests if one.exchange.is_open] or requests[-1:]

    def cancel(self, connection: str, request_id: RequestId) -> list[Request]:
        """Note that the client has cancelled the requests in progress with this id, or else the last one; return them."""
        meant = self._find_meant(connection, request_id)
        for request in meant:
            request.exchange.note_cancelled()
            self._keep(request)
        return meant

    def _keep(self, request: Request) -> None:
        """Remember a request that is over for as long as there is room."""
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
