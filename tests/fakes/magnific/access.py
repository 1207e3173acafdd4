"""The keys of both fakes: a switch takes either."""

import hmac

from starlette.requests import Request

from flowport.sandbox.web import check_key


def check_either_key(request: Request, key: str, magica_key: str) -> None:
    """Let a request with the right key of either provider pass; raises `Refused` with 401 otherwise."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), magica_key.encode()):
        return
    check_key(request, key)
