"""What signs or authorises goes out of foreign text, and what only reads like it stays."""

import json

import pytest

from flowport.domain.errors import ProviderBroken
from flowport.domain.text import HIDDEN, clean_line, redact
from flowport.providers.interface import ApiAnswer, Uncertain
from flowport.providers.magnific.api import Magnific
from flowport.providers.parsing import clean_answer, clean_detail

TOKEN = "exp_9~hmac_dddd0000dddd0000dddd0000"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlMTIz"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"could not read it with token={TOKEN}", TOKEN),
        (f"could not read it with token%3D{TOKEN}", TOKEN),
        (f"refused (fp_{'aZ-_9' * 8}xyz)", "aZ-_9"),
        (f'{{"token": "{TOKEN}"}}', TOKEN),
        (f"{{'assetToken':'{TOKEN}'}}", TOKEN),
        (json.dumps({"detail": json.dumps({"access_token": "Zm9vYmFyYmF6"})}), "Zm9vYmFyYmF6"),
        ("GET https://cdn.example/a.png?Expires=1&Signature=abc~def failed", "abc~def"),
        ("GET https:\\/\\/cdn.example\\/a.png?sig=abcdef failed", "sig=abcdef"),
        ("see https://me:hunter2@cdn.example/a.png", "hunter2"),
        ("PUT /bucket/key?X-Amz-Signature=0a1b2c3d&X-Amz-Security-Token=FwoGZ failed", "0a1b2c3d"),
        ("PUT /bucket/key?X-Amz-Signature=0a1b2c3d&X-Amz-Security-Token=FwoGZ failed", "FwoGZ"),
        ("X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/20260101", "AKIAIOSFODNN7EXAMPLE"),
        ("sig=abcdefgh;sv=2020", "abcdefgh"),
        ("hmac=deadbeef", "deadbeef"),
        ("signature: deadbeef00112233", "deadbeef00112233"),
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("sent with Bearer abcdef0123456789", "abcdef0123456789"),
        (f"the session {JWT} has ended", JWT),
        (f"jwt {JWT[: JWT.rindex('.')]}", "eyJzdWIiOiIxIn0"),
        ("x-magnific-api-key: mk-0123456789", "mk-0123456789"),
        ("api_key=mk0123", "mk0123"),
        ("apiKey: mk-0123456789", "mk-0123456789"),
        ("the key gx_0123456789abcdef is revoked", "gx_0123456789abcdef"),
        ("the key FPSX133bc1feeb7b6b1e is revoked", "133bc1feeb7b6b1e"),
        ("password=hunter2", "hunter2"),
        ("Set-Cookie: sid=0123456789abcdef; Path=/", "0123456789abcdef"),
        ("session_id=0123456789", "0123456789"),
        ("st=1~exp=2~acl=/*~hmac=00ff", "00ff"),
        ("client_secret='s3cr3tvalue'", "s3cr3tvalue"),
        ("wss://cdn.example/live?key=abcdef failed", "abcdef"),
        ("s3://bucket/x.png?X-Amz-Date=1&key=abcdef", "abcdef"),
        ("ftp://me:hunter2@files.example/x", "hunter2"),
        ("proxy socks5://me:hunter2@10.0.0.1:1080", "hunter2"),
        ("token%253Dabcdef", "abcdef"),
        ("asset?token\\u003dabcdef\\u0026x=1", "abcdef"),
        ("token&#61;abcdef", "abcdef"),
        ("bearer%20abcdef0123456789", "abcdef0123456789"),
        ("Bearer: abc.def.ghi123", "abc.def.ghi123"),
        ("the token abcdef0123456789 is used up", "abcdef0123456789"),
        ("the token is 'abcdef0123456789'", "abcdef0123456789"),
        ("signature (0a1b2c3d4e5f6071) does not match", "0a1b2c3d4e5f6071"),
        ("pass=hunter2", "hunter2"),
        ("csrf: abc123def456", "abc123def456"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEvQ\n-----END RSA PRIVATE KEY----- and more", "MIIEvQ"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEvQ", "MIIEvQ"),
        ("sk_live_abc123def456", "abc123def456"),
        ("glpat-abcdefghij1234", "abcdefghij1234"),
    ],
)
def test_what_signs_or_authorises_is_hidden(text: str, secret: str) -> None:
    """In an address, a header, a parameter or JSON, escaped or not."""
    assert secret in text
    assert secret not in redact(text)
    assert HIDDEN in redact(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "Invalid token: expired",
        "the Bearer token is missing",
        "Bearer authentication is required",
        "max_tokens=4000 is more than 2048",
        "token: 512 used",
        "the signature is invalid",
        "password: is required",
        "inputs.image: is required",
        "see https://docs.magnific.com/errors#token",
        "key is required",
        "the keyboard=qwerty layout",
        "design=modern, authors=3",
        "a session: closed",
        "status 500, request id 7f3a9c",
        "the key node_1777671164161_request is not known",
        "the token authentication-required is missing",
        "a compass=north, the pass: second",
        "the secret ingredient is paprika",
    ],
)
def test_words_about_secrets_stay(text: str) -> None:
    """They are what a person needs to know."""
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "token=" * 4000,
        "x-" * 9000 + "token=1",
        "https://" * 3000,
        "eyJ" + "a." * 9000,
        "exp_1~" * 4000,
        "bearer " * 4000,
        "-----BEGIN PRIVATE KEY-----" * 1000,
        "token is " * 4000,
        "wss://" * 4000,
    ],
)
def test_hostile_text_takes_no_longer_than_its_length(text: str) -> None:
    """Each pattern is tried at most once a letter; a text that makes one explode would hold up every run."""
    assert redact(text * 2)


def test_a_provider_s_words_are_clean_before_they_are_kept() -> None:
    """Invisible letters inside a token do not save it, and neither does the cut at the end."""
    split = TOKEN[:3] + "\u200b" + TOKEN[3:]
    assert "dddd0000" not in clean_detail(f"with to\u200bken={split}")
    assert "dddd" not in clean_detail("x" * 280 + f" token={TOKEN}")
    assert clean_detail(f'with token="{TOKEN}"') == f"with token='{HIDDEN}'"
    body = json.dumps({"message": f"could not start with token={TOKEN}"}).encode()
    kept = clean_answer(ApiAnswer(500, {}, body))
    assert kept == f'{{"message": "could not start with token={HIDDEN}"}}'


def test_an_undecided_start_keeps_no_token() -> None:
    """Its answer goes into the record and into what the assistant reads."""
    body = json.dumps({"message": f"it broke with token={TOKEN} and Bearer {JWT}"}).encode()
    outcome = Magnific().parse_start(ApiAnswer(500, {}, body))
    assert isinstance(outcome, Uncertain)
    assert isinstance(outcome.error, ProviderBroken)
    assert TOKEN not in f"{outcome}"
    assert JWT not in f"{outcome}"
    assert clean_line(outcome.answer) == outcome.answer
