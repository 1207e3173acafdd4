"""Access tokens that an attacker could send, or that an issuer made for something else: none of them may count."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.oauth_issuer import Issuer, Key, encode_part, make_key

ATTACKER: Final = make_key("attacker")
OTHER_SERVER: Final = "https://other.example.com/mcp"
_HASHES: Final = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def sign_raw(key: Key, header: Any, payload: Any) -> str:
    """Return a token over any header and payload, with a signature of RS256."""
    assert isinstance(key.private, rsa.RSAPrivateKey)
    text = f"{encode_part(header)}.{encode_part(payload)}"
    signature = key.private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{encode_part(signature)}"


def sign_shared(secret: bytes, header: Mapping[str, Any], payload: Any) -> str:
    """Return a token that is signed with a shared secret."""
    text = f"{encode_part(header)}.{encode_part(payload)}"
    signature = hmac.new(secret, text.encode(), _HASHES.get(str(header.get("alg")), hashlib.sha256)).digest()
    return f"{text}.{encode_part(signature)}"


def forge(issuer: Issuer, audience: str) -> Iterator[tuple[str, str]]:
    """Yield tokens with what is wrong with each."""
    yield from _confuse_algorithms(issuer, audience)
    yield from _inject_keys(issuer, audience)
    yield from _deform(issuer, audience)
    yield from _misuse(issuer, audience)


def _confuse_algorithms(issuer: Issuer, audience: str) -> Iterator[tuple[str, str]]:
    claims, key = issuer.claim(audience), issuer.signing
    genuine = key.sign(claims)
    body, _, signature = genuine.rpartition(".")
    payload = body.partition(".")[2]
    for name in ("none", "None", "NONE", "nOnE", "none ", ""):
        header = encode_part({"alg": name, "typ": "JWT", "kid": key.id})
        yield f"algorithm {name!r} without a signature", f"{header}.{payload}."
        yield f"algorithm {name!r} with a signature", f"{header}.{payload}.{signature}"
    public = key.private.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    published = key.publish()
    secrets = {
        "PEM": pem,
        "stripped PEM": pem.strip(),
        "DER": der,
        "JWK": json.dumps(published).encode(),
        "modulus": str(published["n"]).encode(),
        "nothing": b"",
    }
    for spelling, secret in secrets.items():
        yield f"public key as a shared secret, {spelling}", sign_shared(secret, {"alg": "HS256", "kid": key.id}, claims)
    for name in ("HS384", "HS512"):
        yield f"public key as a shared secret, {name}", sign_shared(pem, {"alg": name, "kid": key.id}, claims)
    yield "RS256 in name, a shared secret in fact", sign_shared(pem, {"alg": "RS256", "kid": key.id}, claims)
    for name in ("ES256", "PS256", "EdDSA", "RS384", "ES256K", "RS1", "rs256", "RS256 ", "A128KW", "dir"):
        yield f"signature under another name, {name}", sign_raw(key, {"alg": name, "kid": key.id}, claims)
    for value in (None, 256, ["RS256"], {"RS256": 1}, True):
        yield f"algorithm {value!r}", sign_raw(key, {"alg": value, "kid": key.id}, claims)
    yield "no algorithm", sign_raw(key, {"kid": key.id}, claims)


def _inject_keys(issuer: Issuer, audience: str) -> Iterator[tuple[str, str]]:
    claims, real = issuer.claim(audience), issuer.signing.id
    stolen = {"kid": real}
    yield "another key under the real id", ATTACKER.sign(claims, **stolen)
    yield "an unknown key", ATTACKER.sign(claims)
    yield "another key without an id", sign_raw(ATTACKER, {"alg": "RS256"}, claims)
    for name in (
        "../../../../dev/null",
        "' OR '1'='1",
        "http://127.0.0.1:1/keys",
        "",
        "a" * 10_000,
        "\0",
        real.upper(),
    ):
        yield f"key id {name[:20]!r}", ATTACKER.sign(claims, kid=name)
        yield f"key id {name[:20]!r} and a shared secret", sign_shared(b"", {"alg": "HS256", "kid": name}, claims)
    for value in (1, ["first"], {"kid": real}, True):
        yield f"key id {value!r}", sign_raw(ATTACKER, {"alg": "RS256", "kid": value}, claims)
    place = f"{issuer.url}/attacker-keys"
    public = ATTACKER.publish(kid=real)
    for header in (
        {"jku": place},
        {"x5u": place},
        {"jwk": public},
        {"x5c": ["MIIB"]},
        {"jku": place, "jwk": public, "x5u": place},
    ):
        yield f"key in the header: {', '.join(header)}", ATTACKER.sign(claims, kid=real, **header)
        yield f"unknown key in the header: {', '.join(header)}", ATTACKER.sign(claims, **header)
    for changes, name in (
        ({"use": "enc"}, "for encryption"),
        ({"use": None, "key_ops": ["sign"]}, "that verifies nothing"),
        ({"alg": "RS512"}, "for another algorithm"),
        ({"n": 5}, "that is damaged"),
        ({"n": "AQ", "e": "AQAB"}, "of one bit"),
        ({"kty": "EC"}, "of another type"),
    ):
        key = make_key(f"published {name}")
        issuer.keys.append(key.publish(**changes))
        yield f"a published key {name}", key.sign(claims)
    short = make_key("short", bits=1024)
    issuer.keys.append(short.publish())
    yield "a published key that is too short", sign_raw(short, {"alg": "RS256", "kid": "short"}, claims)
    issuer.keys.append({"kty": "oct", "kid": "shared", "k": encode_part(b"s" * 32), "alg": "HS256"})
    yield "a published shared secret", sign_shared(b"s" * 32, {"alg": "HS256", "kid": "shared"}, claims)
    curve = make_key("curve", "ES256")
    issuer.keys.append(curve.publish())
    text = f"{encode_part({'alg': 'ES256', 'kid': 'curve'})}.{encode_part(claims)}"
    yield "a signature of zeros", f"{text}.{encode_part(bytes(64))}"
    yield "a signature that is empty", f"{text}."
    yield "a signature of another curve", make_key("large curve", "ES384").sign(claims, kid="curve")
    yield "a signature in DER", f"{text}.{encode_part(b'0' + bytes(70))}"


def _deform(issuer: Issuer, audience: str) -> Iterator[tuple[str, str]]:
    key = issuer.signing
    claims = issuer.claim(audience)
    genuine = key.sign(claims)
    header, payload, signature = genuine.split(".")
    other = encode_part({**claims, "sub": "boris"})
    usual = {"alg": "RS256", "kid": key.id}
    yield "another subject", f"{header}.{other}.{signature}"
    yield "another header", f"{encode_part({**usual, 'x': 1})}.{payload}.{signature}"
    yield (
        "the signature of another token",
        f"{header}.{payload}.{key.sign({**claims, 'sub': 'boris'}).rpartition('.')[2]}",
    )
    yield "no signature", f"{header}.{payload}."
    yield "two parts", f"{header}.{payload}"
    yield "one part", header
    yield "four parts", f"{genuine}.{signature}"
    yield "five parts", f"{genuine}.{signature}.{signature}"
    yield "dots", ".."
    yield "a shorter signature", genuine[:-4]
    yield "a longer signature", f"{genuine}AAAA"
    yield "a flipped signature", f"{header}.{payload}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    # 2048 bits leave four bits of the last character unused.
    yield "another spelling of the signature", genuine[:-1] + chr(ord(genuine[-1]) + 1)
    yield "padding", f"{genuine}=="
    yield "padding inside", f"{header}=.{payload}.{signature}"
    yield "the other alphabet", f"{header}.{payload}.{signature[:-2]}+/"
    yield "a slash", f"{header}/{payload}/{signature}"
    yield "an extension that must be understood", sign_raw(key, {**usual, "crit": ["x"], "x": 1}, claims)
    yield "an empty list of extensions", sign_raw(key, {**usual, "crit": []}, claims)
    yield "a payload that is not encoded", sign_raw(key, {**usual, "b64": False, "crit": ["b64"]}, claims)
    yield "an encrypted token", sign_raw(key, {**usual, "enc": "A128GCM"}, claims)
    for name in ("dpop+jwt", "logout+jwt", "secevent+jwt", "oauth-id-jag+jwt", "", 5, None):
        yield f"type {name!r}", sign_raw(key, {**usual, "typ": name}, claims)
    for name, value in {
        "a list": [claims],
        "text": "anna",
        "no JSON": b"{",
        "nothing": b"",
        "no UTF-8": b'{"sub":"\xff"}',
        "depth": b"[" * 3000 + b"]" * 3000,
    }.items():
        yield f"a payload that is {name}", sign_raw(key, usual, value)
        yield f"a header that is {name}", sign_raw(key, value, claims)
    yield "a token of ours in the form only", "fp_" + "a" * 43


Change = Callable[[float], Any]


def _misuse(issuer: Issuer, audience: str) -> Iterator[tuple[str, str]]:
    def sign(**changes: Any) -> str:
        return issuer.issue(audience, **changes)

    now = float(issuer.claim(audience)["iat"])
    wrong: dict[str, list[Any]] = {
        "exp": [None, now - 61, 0, -1, "4000000000", True, [], {}, float("nan"), float("inf"), 10**400],
        "nbf": [now + 120, "0", True, [], float("-inf")],
        "iat": [now + 120, "0", False, {}],
        "iss": [None, "https://issuer.example", f"{issuer.url}/", f"{issuer.url}/x", issuer.url.upper(), ""],
        "aud": [
            *(None, OTHER_SERVER, [], [OTHER_SERVER], {audience: 1}, "", "*", audience.upper(), f"{audience}x"),
            *(
                audience.removesuffix("/mcp"),
                f"{audience}/x",
                f"x{audience}",
                [[audience]],
                5,
                "client-1",
                f"{audience}//",
            ),
        ],
        "sub": [None, "", 5, ["anna"], True, "a\nb", "a\0b", "a\u202eb", "a" * 256, {}],
        "cnf": [{"jkt": "x"}, {"x5t#S256": "x"}],
    }
    for name, values in wrong.items():
        for value in values:
            claims = issuer.claim(audience)
            claims.pop(name, None)
            if value is not None:
                claims[name] = value
            text = {"alg": "RS256", "kid": issuer.signing.id}
            yield f"{name} {str(value)[:30]!r}", sign_raw(issuer.signing, text, claims)
    yield "a token about a person and for a client", sign(aud="client-1", nonce="n", email="anna@example.com")
    yield (
        "every claim null",
        sign_raw(
            issuer.signing,
            {"alg": "RS256", "kid": issuer.signing.id},
            dict.fromkeys(("iss", "aud", "sub", "exp", "nbf", "iat")),
        ),
    )
