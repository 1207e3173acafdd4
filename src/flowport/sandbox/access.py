"""Who is let in: the API key, and the Host header that keeps other sites' pages in a browser out."""

import hmac
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from flowport.sandbox.refusals import Refused, build_refusal

# The second is the header of the time when the service had another name; clients still send it.
_KEY_HEADERS: Final = ("x-magnific-api-key", "x-freepik-api-key")


def check_key(request: Request, key: str) -> None:
    """Let a request with the right key pass; raises `Refused` with 401 otherwise."""
    given = next((request.headers[name] for name in _KEY_HEADERS if request.headers.get(name)), None)
    if given is None:
        raise Refused(401, "Missing API key")
    if not hmac.compare_digest(given.encode(), key.encode()):
        raise Refused(401, "Invalid API key")


def check_either_key(request: Request, key: str, magica_key: str) -> None:
    """Let a request with the right key of either provider pass; raises `Refused` with 401 otherwise."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), magica_key.encode()):
        return
    check_key(request, key)


def guard_host(app: ASGIApp, port: int) -> ASGIApp:
    """Answer 403 to requests that name another host than this machine's loopback interface.

    A page of another site can have its name resolve to 127.0.0.1; the Host header then still says the site's name.
    """
    allowed = {f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")}

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) == 1 and hosts[0].lower() in allowed:
            await app(scope, receive, send)
        else:
            await build_refusal(403, "Host not allowed")(scope, receive, send)

    return guarded
