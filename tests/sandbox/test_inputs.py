"""What a run request may hold, over real HTTP where the answer matters, else by direct calls."""

import base64
import json
import struct
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.sandbox.apps import (
    APPS,
    MAX_LIST_ITEMS,
    MAX_MEDIA_BYTES,
    MAX_TEXT_CHARACTERS,
    AppInput,
    InputType,
    Product,
    ProductKind,
    SandboxApp,
    parse_inputs,
)
from flowport.sandbox.files import Files
from flowport.sandbox.storage import Storage
from flowport.sandbox.web import Refused
from tests.fakes.client import build_photo, encode
from tests.sandbox.client import Client, open_sandbox

BY_NAME = {app.name: app for app in APPS}
ORIGIN = "http://127.0.0.1:1"
FILES = Files(ORIGIN, Storage(), 60)
SKETCH = "Photo to Pencil Sketch"


def refuse(name: str, **inputs: Any) -> str:
    """Expect a 422 and return its sentence."""
    with pytest.raises(Refused) as caught:
        parse_inputs(BY_NAME[name], inputs, FILES.find)
    assert caught.value.status == 422
    return caught.value.message


def get_status(app: SandboxApp, inputs: dict[str, Any]) -> int:
    """Return the status that these inputs would get."""
    try:
        parse_inputs(app, inputs, FILES.find)
    except Refused as refusal:
        return refusal.status
    return 202


def build_png_claiming(width: int, height: int) -> str:
    """Build a tiny PNG whose header claims a large picture."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = b"IDAT" + zlib.compress(b"\0")
    body = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunk + body).decode()


async def test_a_wrong_input_is_a_422_with_a_sentence(sandbox: Client) -> None:
    """And no run is started."""
    answer = await sandbox.run("Text to Picture")
    assert (answer.status_code, answer.json()) == (422, {"message": "Input 'prompt' is required"})


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("Text to Picture", {"prompt": ""}, "Input 'prompt' is required"),
        ("Text to Picture", {"prompt": None}, "Input 'prompt' is required"),
        ("Text to Picture", {"prompt": 3}, "Input 'prompt' must be a text"),
        ("Text to Picture", {"prompt": "\ud800"}, "Input 'prompt' holds half of a character"),
        ("Text to Picture", {"prompt": "x", "shape": "round"}, "Input 'shape' must be one of: square, wide, tall"),
        ("Text to Picture", {"prompt": "x", "shape": None}, "Input 'shape' must not be null"),
        ("Text to Picture", {"prompt": "x", "so\n": 1}, "There is no input 'so\\n'"),
        ("Variations on a Theme", {"prompt": "x", "count": "4"}, "Input 'count' must be a number"),
        ("Variations on a Theme", {"prompt": "x", "count": True}, "Input 'count' must be a number"),
        ("Variations on a Theme", {"prompt": "x", "count": 7}, "Input 'count' must be between 1 and 6"),
        ("Variations on a Theme", {"prompt": "x", "count": float("nan")}, "Input 'count' must be between 1 and 6"),
        ("Variations on a Theme", {"prompt": "x", "count": 10**400}, "Input 'count' must be between 1 and 6"),
        (SKETCH, {"photo": 3}, "Input 'photo' must be a URL, base64 or the id of a creation"),
        (SKETCH, {"photo": "!"}, "Input 'photo' is not valid base64"),
        (SKETCH, {"photo": "é"}, "Input 'photo' is not valid base64"),
        (SKETCH, {"photo": "data:text/plain,hello"}, "Input 'photo' is not valid base64"),
        (SKETCH, {"photo": "aGVsbG8="}, "Input 'photo' is not a picture that can be decoded"),
        (SKETCH, {"photo": "http://[bad"}, "The sandbox takes files of this computer and its own results"),
        (SKETCH, {"photo": "file:///etc/passwd"}, "The sandbox takes files of this computer and its own results"),
        (
            SKETCH,
            {"photo": "https://example.com/a.png"},
            "The sandbox takes files of this computer and its own results",
        ),
        ("My Storyboard", {"premise": "x", "scenes": [1]}, "Input 'scenes' must be a text"),
    ],
)
def test_the_sentence_names_what_is_wrong(name: str, inputs: dict[str, Any], message: str) -> None:
    """The contract publishes no body for 422; ours says what to correct."""
    assert refuse(name, **inputs) == message


def test_texts_lists_and_files_have_limits() -> None:
    """Whatever is sent, the sandbox keeps to bounded memory."""
    assert "at most" in refuse("Text to Picture", prompt="x" * (MAX_TEXT_CHARACTERS + 1))
    assert "at most" in refuse("My Storyboard", premise="x", scenes=["a"] * (MAX_LIST_ITEMS + 1))
    assert "larger than 20 MB" in refuse(SKETCH, photo="A" * (MAX_MEDIA_BYTES * 4 // 3 + 8))


@pytest.mark.parametrize("size", [(8000, 5001), (10_000, 9500), (60_000, 60_000)])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(size: tuple[int, int]) -> None:
    """A few bytes can claim gigabytes; Pillow itself only warns in between."""
    assert refuse(SKETCH, photo=build_png_claiming(*size)) == "Input 'photo' has more than 40 megapixels"


def test_a_broken_picture_is_refused() -> None:
    """The header is right, the pixels are not all there."""
    whole = base64.b64decode(encode(build_photo(), "JPEG"))
    assert "decoded" in refuse(SKETCH, photo=base64.b64encode(whole[: len(whole) // 2]).decode())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("prefix", ["", "data:image/x;base64,", "\n"])
def test_pictures_of_the_usual_kinds_are_taken(kind: str, prefix: str) -> None:
    """As raw base64 and as data URIs."""
    values = parse_inputs(BY_NAME[SKETCH], {"photo": prefix + encode(build_photo(), kind)}, FILES.find)
    assert values["photo"] == base64.b64decode(encode(build_photo(), kind))
    assert values["line_strength"] == 1


def test_one_text_will_do_for_a_list() -> None:
    """Free-form types are taken as they come."""
    values = parse_inputs(BY_NAME["My Storyboard"], {"premise": "x", "scenes": "one"}, FILES.find)
    assert values["scenes"] == ("one",)


@pytest.mark.parametrize("field", ["id", "url"])
async def test_an_earlier_result_can_be_an_input(sandbox: Client, field: str) -> None:
    """By its id, and by its link while that is good."""
    first = await sandbox.finish("Text to Picture", prompt="hills")
    second = await sandbox.finish(SKETCH, photo=first["result"]["images"][0][field])
    assert (second["status"], second["result"]["images"][0]["width"]) == ("completed", 768)


async def test_an_expired_link_is_not_an_input() -> None:
    """It is the caller's input that is wrong, so the status is 422."""
    async with open_sandbox(link_seconds=-1) as sandbox:
        url = (await sandbox.finish("Text to Picture", prompt="hills"))["result"]["images"][0]["url"]
        answer = await sandbox.run(SKETCH, photo=url)
    assert (answer.status_code, answer.json()["message"]) == (422, "The link has expired or its token is wrong")


async def test_a_video_is_not_a_photo(sandbox: Client) -> None:
    """The id exists, the kind is wrong."""
    clip = (await sandbox.finish("Clip and Jingle", mood="merry"))["result"]["videos"][0]
    answer = await sandbox.run(SKETCH, photo=clip["id"])
    assert (answer.status_code, answer.json()) == (422, {"message": "Input 'photo' must be an image"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=4)
)


@settings(max_examples=200, deadline=None, database=None)
@given(st.sampled_from(APPS), st.data())
def test_any_json_is_taken_or_refused(app: SandboxApp, data: st.DataObject) -> None:
    """No value of a other person gets anything but an answer."""
    keys = st.sampled_from([entry.key for entry in app.inputs])
    inputs = data.draw(st.dictionaries(keys, JSON | st.dictionaries(st.text(), JSON, max_size=2), max_size=3))
    assert get_status(app, json.loads(json.dumps(inputs))) in {202, 422}


def test_a_film_or_a_sound_is_taken_as_it_is() -> None:
    """No recipe looks into it; but the id of a picture is not a film."""
    entries = (AppInput("clip", InputType.CREATION, "Clip", media_type="video"),)
    app = replace(APPS[0], inputs=entries)
    assert parse_inputs(app, {"clip": "AAAA"}, FILES.find) == {"clip": bytes(3)}
    FILES.add("run", Product(ProductKind.IMAGES, "x", "image/png", b"png"))
    (picture,) = FILES.describe_run("run")["images"]
    with pytest.raises(Refused) as caught:
        parse_inputs(app, {"clip": picture["id"]}, FILES.find)
    assert caught.value.message == "Input 'clip' must be a video"
