"""The bytes inside a data URI."""

import base64
import contextlib
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.domain.errors import ArgumentsInvalid
from flowport.media.sources import parse_data_uri

BYTES = bytes(range(256))
TEXT = base64.b64encode(BYTES).decode()
PREFIX = "data:image/png;base64,"


@pytest.mark.parametrize(
    "value",
    [
        PREFIX + TEXT,
        "DATA:image/png;BASE64," + TEXT,
        "data:;base64," + TEXT,
        "data:image/png; charset=x; base64," + TEXT,
        PREFIX + TEXT.rstrip("="),
        PREFIX + base64.urlsafe_b64encode(BYTES).decode(),
        PREFIX + "\r\n".join([TEXT[:76], TEXT[76:152], TEXT[152:]]),
        PREFIX + TEXT.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        "data:application/octet-stream," + quote_from_bytes(BYTES),
        PREFIX + PREFIX + TEXT,
        "data:" + PREFIX + TEXT,
        PREFIX + "base64," + TEXT,
        "data:image/png;base64" + TEXT,
        "data:image/png;base64 " + TEXT,
        "data:image/png;base64:" + TEXT,
        "data:image/png;base64;" + TEXT,
        "data:base64," + TEXT,
        "image/png;base64," + TEXT,
        "base64," + TEXT,
        "base64:" + TEXT,
        PREFIX + TEXT.replace("/", "\\/"),
        PREFIX + "\\n".join([TEXT[:76], TEXT[76:]]),
    ],
)
def test_every_usual_way_to_write_the_data_is_read(value: str) -> None:
    """Assistants wrap, trim and escape base64 as they please."""
    assert parse_data_uri(value, argument="image", max_bytes=256) == BYTES


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:" + "x" * 400 + ",abc", "no comma"),
        (PREFIX, "without data"),
        (PREFIX + "====", "without data"),
        ("data:,", "without data"),
        (PREFIX + "abc*", "broken"),
        (PREFIX + "a", "broken"),
        (PREFIX + PREFIX + "a", "broken"),
        (PREFIX + PREFIX, "without data"),
        (PREFIX + "äbcd", "broken"),
        (PREFIX + "%ff%fe", "broken"),
        ("data:,\ud800%41", "broken"),
        (PREFIX + "\ud800%41", "broken"),
        (PREFIX + base64.b64encode(bytes(257)).decode(), "holds more than 256 bytes"),
        ("data:," + "a" * 257, "holds more than 256 bytes"),
        (PREFIX + "A" * 10_000_000, "holds more than 256 bytes"),
    ],
)
def test_broken_empty_or_large_data_is_refused(value: str, problem: str) -> None:
    """Half a picture would be paid for like a whole one."""
    with pytest.raises(ArgumentsInvalid, match=problem) as caught:
        parse_data_uri(value, argument="image", max_bytes=256)
    assert len(str(caught.value)) < 300


def test_base64_that_is_not_called_so_is_read_where_a_picture_comes_of_it() -> None:
    """A text that happens to be base64 stays a text."""
    png = b"\x89PNG\r\n\x1a\n" + bytes(60)
    assert parse_data_uri("data:image/png," + base64.b64encode(png).decode(), argument="image", max_bytes=256) == png
    assert parse_data_uri("data:,secretsecret", argument="image", max_bytes=256) == b"secretsecret"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([PREFIX, "data:,", "data:"]), st.text(max_size=60))
def test_any_text_is_read_or_refused(prefix: str, text: str) -> None:
    """Nothing else may escape to the caller."""
    with contextlib.suppress(ArgumentsInvalid):
        assert parse_data_uri(prefix + text, argument="image", max_bytes=1000)
