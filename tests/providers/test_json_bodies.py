"""The JSON of answers: what may come, and what is made of it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.providers.interface import ApiAnswer
from flowport.providers.parsing import parse_json


def read(body: bytes, *, is_complete: bool = True) -> object:
    """Return a body as JSON."""
    return parse_json(ApiAnswer(200, {}, body, is_complete=is_complete))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"{'a': 1}", b'"\xed\xa0\xbd"', b"[" * 100_000, b'{"a":' * 100_000]
)
def test_a_body_that_is_not_json_is_one_kind_of_error(body: bytes) -> None:
    """Parsers catch that one; nothing that a provider sends may escape them."""
    with pytest.raises(ValueError, match=r"."):
        read(body)


def test_a_body_that_is_cut_off_is_not_json_even_if_it_looks_like_it() -> None:
    """The first half of a number is a number too."""
    assert read(b"12") == 12
    with pytest.raises(ValueError, match="cut off"):
        read(b"12", is_complete=False)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'"Cut \\ud83d"', "Cut ?"),
        (b'{"\\uDE00": ["\\ud83d\\ude00"]}', {"?": ["\U0001f600"]}),
        (b'"\\\\ud83d"', "\\ud83d"),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b"[NaN, Infinity, -Infinity, 1e999, -1e999]", [None] * 5),
        (b"[1%s, 2]" % (b"0" * 5000), [None, 2]),
        (b"[1.5, -2, 1e3]", [1.5, -2, 1000.0]),
    ],
)
def test_what_could_not_be_written_again_costs_nothing_else(body: bytes, value: object) -> None:
    """Programs cut texts inside an emoji and divide by zero; no file and no request can hold what comes of it."""
    assert read(body) == value


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(-(10**14), 10**14), st.lists, max_leaves=20))
@settings(deadline=None, max_examples=100)
def test_everything_else_is_read_as_it_was_written(value: object) -> None:
    """Labels and prompts come in every script."""
    assert read(json.dumps(value).encode()) == value
    assert read(json.dumps(value, ensure_ascii=False).encode()) == value
