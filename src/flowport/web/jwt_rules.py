"""What an access token of an issuer (a JWT) must be to count: its form, its signature and its claims. Pure.

The algorithm comes from a fixed list and must fit the issuer's key, so that a key is never used as a shared secret. Addresses
and keys inside a token (`jku`, `x5u`, `jwk`, `x5c`) are ignored.
"""

import base64
import binascii
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt

from flowport.domain.principal import Principal
from flowport.web.auth import INVALID, OWNER_PREFIX, UNKNOWN_TOKEN, Refusal

logger = logging.getLogger(__name__)

SKEW_SECONDS: Final = 60.0
"""How far the clocks of the issuer and of this server may differ."""
MAX_KEYS: Final = 100
MAX_SUBJECT_LENGTH: Final = 255

_PART: Final = re.compile(r"[A-Za-z0-9_-]+")
_PARTS: Final = 3
_MAX_KEY_ID_LENGTH: Final = 512
_MAX_INSTANT: Final = 1e12
_MIN_RSA_BYTES: Final = 256
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""What a token may call itself; others (of a sign-out, of a proof) are no access tokens."""

_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    **{f"{family}{size}": ("RSA", "") for family in ("RS", "PS") for size in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The accepted algorithms, each with the type and the curve of its keys."""
_PUBLIC: Final = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}


def _refuse(sentence: str) -> Refusal:
    return Refusal(401, sentence, INVALID)


BAD_SIGNATURE: Final = _refuse("The signature of the access token is not one of the issuer's.")
UNKNOWN_KEY: Final = _refuse("The issuer has no key that fits the access token.")
_BAD_ALGORITHM: Final = _refuse("The access token is signed with an algorithm that is not accepted.")
_BAD_CLAIMS: Final = _refuse("The access token lacks a claim that is required, or holds a malformed one.")
_OTHER_KIND: Final = _refuse("The token is not an access token.")
_EXPIRED: Final = _refuse("The access token has expired. Ask the issuer for a new one.")
_EARLY: Final = _refuse("The access token is not valid yet.")
_OTHER_ISSUER: Final = _refuse("The access token comes from another issuer.")
_OTHER_AUDIENCE: Final = _refuse("The access token was issued for another server.")
_BOUND: Final = _refuse("The access token is bound to a key of its client, which this server cannot check.")


@dataclass(frozen=True, slots=True)
class Header:
    """What a token says of its signature."""

    algorithm: str
    key_id: str | None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the claims of a token must say."""

    issuer: str
    audiences: frozenset[str]
    """One of them is enough; without a slash at the end."""
    scopes: tuple[str, ...] = ()
    """All of them."""


def parse_header(token: str) -> Header | Refusal:
    """Return the header of a token whose form is that of a signed JWT."""
    found = _read_header(token)
    if found is None:
        return UNKNOWN_TOKEN
    algorithm, key_id, kind = found.get("alg"), found.get("kid"), found.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in _KINDS:
        return _BAD_ALGORITHM
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        return _OTHER_KIND
    if key_id is not None and not (isinstance(key_id, str) and 0 < len(key_id) <= _MAX_KEY_ID_LENGTH):
        return UNKNOWN_KEY
    return Header(algorithm, key_id)


def _read_header(token: str) -> Mapping[str, Any] | None:
    parts = token.split(".")
    if len(parts) != _PARTS or not all(map(_is_canonical, parts)):
        return None
    try:
        found = json.loads(_decode(parts[0]))
    except (ValueError, RecursionError):
        return None
    # Of the last: an extension that must be understood, or a form that only other kinds of tokens have.
    is_plain = isinstance(found, dict) and not any(name in found for name in ("crit", "b64", "enc", "zip"))
    return found if is_plain else None


def _is_canonical(part: str) -> bool:
    """Return whether a part is base64url in the one spelling of its bytes."""
    if not _PART.fullmatch(part):
        return False
    try:
        return base64.urlsafe_b64encode(_decode(part)).decode().rstrip("=") == part
    except (ValueError, binascii.Error):
        return False


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def find_keys(keys: Sequence[Any], header: Header) -> tuple[jwt.PyJWK, ...]:
    """Return the keys of an issuer that may have signed a token; one without a key id needs the only key of its kind."""
    fitting = [one for one in keys[:MAX_KEYS] if isinstance(one, dict) and _fits(one, header.algorithm)]
    if header.key_id is not None:
        fitting = [one for one in fitting if one.get("kid") == header.key_id]
    elif len(fitting) > 1:
        return ()
    return tuple(filter(None, (_build_key(one, header.algorithm) for one in fitting)))


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    kind, curve = _KINDS[algorithm]
    operations = key.get("key_ops")
    return (
        key.get("kty") == kind
        and (not curve or key.get("crv") == curve)
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
    )


def _build_key(key: Mapping[str, Any], algorithm: str) -> jwt.PyJWK | None:
    """Return a key of which only the public members are used; None for one that cannot be used or is too short."""
    public = {name: key.get(name) for name in _PUBLIC[str(key["kty"])]}
    if not all(isinstance(value, str) for value in public.values()):
        return None
    try:
        if public["kty"] == "RSA" and len(_decode(str(public["n"])).lstrip(b"\0")) < _MIN_RSA_BYTES:
            return None
        return jwt.PyJWK(public, algorithm)
    except Exception as exc:  # noqa: BLE001 - the libraries raise more kinds for damaged keys than can be named
        logger.warning("a key of the issuer cannot be used (%s)", type(exc).__name__)
        return None


def read_claims(token: str, keys: Iterable[jwt.PyJWK], header: Header) -> Mapping[str, Any] | Refusal:
    """Return the claims of a token that one of the keys has signed."""
    for key in keys:
        try:
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=[header.algorithm], options=_SIGNATURE_ONLY)
        except jwt.InvalidSignatureError:
            continue
        except Exception as exc:  # noqa: BLE001 - a token is untrusted, and the libraries raise more kinds than can be named
            logger.info("an access token cannot be read (%s)", type(exc).__name__)
            continue
        return claims
    return BAD_SIGNATURE


_SIGNATURE_ONLY: Final[Any] = {
    "verify_signature": True,
    **{f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")},
}
"""The claims are checked here, by this server's clock and with their types."""


def check_claims(claims: Mapping[str, Any], expected: Expected, now: float) -> Principal | Refusal:
    """Return whom the claims of a verified token stand for, or why the token is refused."""
    refusal = next(_iterate_problems(claims, expected, now), None)
    return Principal(OWNER_PREFIX + claims["sub"]) if refusal is None else refusal


def _iterate_problems(claims: Mapping[str, Any], expected: Expected, now: float) -> Iterator[Refusal]:
    """Yield what is wrong; each check relies on those before it."""
    if claims.get("iss") != expected.issuer:
        yield _OTHER_ISSUER
    audiences = claims.get("aud")
    named = audiences if isinstance(audiences, list) else [audiences]
    if not any(isinstance(one, str) and one.removesuffix("/") in expected.audiences for one in named):
        yield _OTHER_AUDIENCE
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    if "exp" not in times or not all(map(_is_instant, times.values())):
        yield _BAD_CLAIMS
    if now >= times["exp"] + SKEW_SECONDS:
        yield _EXPIRED
    if any(times[name] > now + SKEW_SECONDS for name in ("nbf", "iat") if name in times):
        yield _EARLY
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH or not subject.isprintable():
        yield _BAD_CLAIMS
    if claims.get("cnf") is not None:
        yield _BOUND
    if not set(expected.scopes) <= find_scopes(claims):
        sentence = f"The access token lacks a scope. It needs: {' '.join(expected.scopes)}."
        yield Refusal(403, sentence, "insufficient_scope", expected.scopes)


def _is_instant(value: Any) -> bool:
    # Larger numbers are no instants, and too large ones cannot be added to a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_INSTANT


def find_scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes that a token holds: `scope` or `scp`, as text with spaces or as a list."""
    found: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name)
        if isinstance(value, str):
            found |= set(value.split())
        elif isinstance(value, list):
            found |= {one for one in value if isinstance(one, str)}
    return frozenset(found)
