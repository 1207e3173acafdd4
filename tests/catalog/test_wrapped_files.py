"""One file in whatever JSON a model puts round it."""

import json

import pytest

from flowport.catalog.values import InvalidValue, parse_value, unwrap_file
from flowport.domain.models import InputKind, JsonValue
from tests.support.app_builders import build_input

PATH, URL, DATA = "/folder/x.png", "https://cdn.example/x.png", "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (PATH, PATH),
        ([PATH], PATH),
        (json.dumps([PATH]), PATH),
        (json.dumps(PATH), json.dumps(PATH)),
        ([[PATH]], PATH),
        ({"url": URL}, URL),
        ({"URL": URL, "detail": "high"}, URL),
        (json.dumps({"path": PATH}), PATH),
        ([{"type": "image_url", "image_url": {"url": URL}}], URL),
        ({"type": "image", "source": {"type": "url", "url": URL}}, URL),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}, DATA),
        ({"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"}, DATA),
        ({"data": DATA}, DATA),
        ({"uri": URL, "name": "x.png"}, URL),
        ({"path": PATH, "file": PATH}, PATH),
        ({"photo": PATH}, PATH),
        ([None, PATH], PATH),
        ([PATH, ""], PATH),
        ({"file_uri": PATH}, PATH),
        ({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}, DATA),
        ({"type": "resource", "resource": {"mimeType": "image/png", "blob": "iVBORw0KGgo="}}, DATA),
        ("[not json", "[not json"),
        ("[1]", "[1]"),
        ("{}", "{}"),
    ],
)
def test_the_one_file_of_a_value_is_found(value: JsonValue, text: str) -> None:
    """Its name is there, so the call need not be made again."""
    assert unwrap_file(value) == text
    assert parse_value(build_input(InputKind.IMAGE), value) == text


@pytest.mark.parametrize(
    "value",
    [
        *(5, True, None, [], {}, [PATH, URL], {"url": URL, "path": PATH}, {"wrong": PATH}, [5], {"url": 5}),
        json.loads("[" * 9 + '"x"' + "]" * 9),
    ],
)
def test_what_names_no_file_or_several_is_refused(value: JsonValue) -> None:
    """Which of two was meant cannot be known, and each is paid for."""
    assert unwrap_file(value) is None
    assert isinstance(parse_value(build_input(InputKind.IMAGE), value), InvalidValue)


def test_an_input_of_several_files_unwraps_each() -> None:
    """A list there is a list of files."""
    files = build_input(InputKind.IMAGE, is_list=True)
    assert parse_value(files, [{"url": URL}, PATH]) == [URL, PATH]
    assert parse_value(files, {"url": URL}) == [URL]
