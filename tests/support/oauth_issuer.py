"""A small OAuth 2.1 issuer over real HTTP: metadata, keys that rotate, registration, and codes with PKCE. Its answers can fail."""

import base64
import hashlib
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from urllib.parse import urlencode

import anyio
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route, Router

from flowport.runtime.http_server import HttpServer
from flowport.web.listen_address import Address, listen

METADATA: Final = "/.well-known/oauth-authorization-server"
OPENID: Final = "/.well-known/openid-configuration"
KEYS: Final = "/keys"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Key:
    """A private key with its id and its algorithm."""

    id: str
    algorithm: str
    private: PrivateKey

    def publish(self, **changes: Any) -> dict[str, Any]:
        """Return what an issuer publishes of it."""
        found: dict[str, Any] = jwt.get_algorithm_by_name(self.algorithm).to_jwk(
            self.private.public_key(), as_dict=True
        )
        found.pop("key_ops", None)
        return {**found, "kid": self.id, "use": "sig", "alg": self.algorithm, **changes}

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """Return a token with these claims; a header that is None is left out."""
        given = {"kid": self.id, "typ": "JWT", **header}
        return jwt.encode(dict(claims), self.private, self.algorithm, headers=given)


@cache
def make_key(name: str, algorithm: str = "RS256", bits: int = 2048) -> Key:
    """Return a key, the same for the same name."""
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if algorithm in curves:
        return Key(name, algorithm, ec.generate_private_key(curves[algorithm]))
    if algorithm == "EdDSA":
        return Key(name, algorithm, ed25519.Ed25519PrivateKey.generate())
    return Key(name, algorithm, rsa.generate_private_key(65537, bits))


@dataclass
class Issuer:
    """The state of an issuer, which a test changes."""

    url: str
    """Without a slash at the end."""
    keys: list[dict[str, Any]] = field(default_factory=list)
    """What is published."""
    signing: Key = field(default_factory=lambda: make_key("first"))
    metadata: dict[str, Any] = field(default_factory=dict)
    """Changes of the published metadata; None leaves a member out."""
    served: set[str] = field(default_factory=lambda: {METADATA, OPENID})
    """At which of its addresses the metadata are."""
    answers: dict[str, Response] = field(default_factory=dict)
    """What is answered at a path instead."""
    held: anyio.Event | None = None
    """Every request waits for it."""
    requests: Counter[str] = field(default_factory=Counter)
    """How often each path was asked."""
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    scope: str = "flowport"
    """What every person grants."""

    def claim(self, audience: str, **changes: Any) -> dict[str, Any]:
        """Return the claims of a usual token; a change to None leaves a claim out."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": audience, "sub": "anna", "iat": now, "nbf": now, "exp": now + 600}
        return {name: value for name, value in {**usual, **changes}.items() if value is not None}

    def issue(self, audience: str, **changes: Any) -> str:
        """Return a valid token."""
        return self.signing.sign(self.claim(audience, **changes))

    def rotate(self, key: Key, *, keep: bool = False) -> None:
        """Sign with another key from now on; publish the former ones beside it or not at all."""
        self.signing = key
        self.keys = [key.publish(), *(self.keys if keep else ())]

    def build_metadata(self) -> dict[str, Any]:
        """Return the metadata."""
        usual = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}{KEYS}",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
            "scopes_supported": [self.scope],
        }
        return {name: value for name, value in {**usual, **self.metadata}.items() if value is not None}


@asynccontextmanager
async def open_issuer(path: str = "") -> AsyncIterator[Issuer]:
    """Run an issuer, at the root of its host or below a path."""
    with listen(Address("127.0.0.1", 0)) as listener:
        origin = Address(*listener.getsockname()[:2]).origin
        issuer = Issuer(f"{origin}{path}")
        issuer.rotate(issuer.signing)
        web = HttpServer(_build_app(issuer, path), log_level=logging.CRITICAL, lifespan="off")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.serve, [listener])
            try:
                yield issuer
            finally:
                if issuer.held is not None:
                    issuer.held.set()
                web.should_exit = True


def _build_app(issuer: Issuer, base: str) -> Router:
    async def answer(request: Request) -> Response:
        path = request.url.path
        issuer.requests[path] += 1
        if issuer.held is not None:
            await issuer.held.wait()
        return issuer.answers.get(path) or await _answer(issuer, request, base)

    return Router([Route("/{rest:path}", answer, methods=["GET", "POST"])])


async def _answer(issuer: Issuer, request: Request, base: str) -> Response:
    if request.url.path in _choose(issuer, base):
        return JSONResponse(issuer.build_metadata())
    match request.url.path.removeprefix(base):
        case "/keys":
            return JSONResponse({"keys": issuer.keys})
        case "/register":
            return _register(issuer, await request.json())
        case "/authorize":
            return _authorize(issuer, request)
        case "/token":
            return _exchange(issuer, {name: str(value) for name, value in (await request.form()).items()})
        case _:
            return Response(status_code=404)


def _choose(issuer: Issuer, base: str) -> set[str]:
    """Return the addresses of the metadata: those that are served, and below a path each form of OpenID's."""
    return {f"{one}{base}" for one in issuer.served} | ({f"{base}{OPENID}"} if OPENID in issuer.served else set())


def _register(issuer: Issuer, client: dict[str, Any]) -> Response:
    client_id = secrets.token_hex(8)
    issuer.clients[client_id] = client
    return JSONResponse({**client, "client_id": client_id, "client_id_issued_at": int(time.time())}, 201)


def _authorize(issuer: Issuer, request: Request) -> Response:
    given = dict(request.query_params)
    client = issuer.clients.get(given.get("client_id", ""))
    if client is None or given.get("redirect_uri") not in client["redirect_uris"]:
        return Response("unknown client", 400)
    if given.get("response_type") != "code" or given.get("code_challenge_method") != "S256":
        return Response("no proof of the client", 400)
    code = secrets.token_urlsafe(16)
    issuer.codes[code] = given
    answer = {"code": code, "state": given.get("state", ""), "iss": issuer.url}
    return RedirectResponse(f"{given['redirect_uri']}?{urlencode(answer)}", 302)


def _exchange(issuer: Issuer, form: dict[str, str]) -> Response:
    given = issuer.codes.pop(form.get("code", ""), None)
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    if given is None or challenge != given["code_challenge"] or form.get("client_id") != given["client_id"]:
        return JSONResponse({"error": "invalid_grant"}, 400)
    # RFC 8707: the client says for which server it wants the token.
    token = issuer.issue(form.get("resource", ""), scope=issuer.scope, client_id=given["client_id"])
    return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": 600, "scope": issuer.scope})


def encode_part(value: Any) -> str:
    """Return a part of a token made of JSON, text or bytes."""
    data = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
