"""What each app makes of its inputs, over real HTTP."""

import io
import wave
from itertools import combinations

import pytest
from PIL import Image, ImageChops

from flowport.sandbox.apps import APPS, StepFailed
from flowport.sandbox.engine import produce
from tests.fakes.client import build_photo, encode
from tests.sandbox.client import Client

PHOTO_APPS = [
    ("Upscale Photo", {"factor": "2"}),
    ("Photo to Pencil Sketch", {}),
    ("Retro Poster", {"title": "Hello"}),
    ("Product Shots, Half of Them", {}),
]


@pytest.mark.parametrize(("app", "inputs"), PHOTO_APPS)
async def test_a_photo_app_changes_the_pixels(sandbox: Client, photo: str, app: str, inputs: dict[str, str]) -> None:
    """The sandbox really works on what it was given."""
    (made,) = await sandbox.make_pictures(app, photo=photo, **inputs)
    assert ImageChops.difference(made, build_photo().resize(made.size)).getbbox() is not None


@pytest.mark.parametrize(("app", "inputs"), PHOTO_APPS)
async def test_another_photo_gives_another_picture(
    sandbox: Client, photo: str, app: str, inputs: dict[str, str]
) -> None:
    """No app returns a prepared picture."""
    (first,) = await sandbox.make_pictures(app, photo=photo, **inputs)
    other = encode(Image.linear_gradient("L").rotate(90).resize((90, 60)).convert("RGB"))
    (second,) = await sandbox.make_pictures(app, photo=other, **inputs)
    assert first.tobytes() != second.tobytes()


@pytest.mark.parametrize("factor", ["2", "4"])
async def test_the_factor_is_the_factor(sandbox: Client, photo: str, factor: str) -> None:
    """The size in the result item is that of the file."""
    run = await sandbox.finish("Upscale Photo", photo=photo, factor=factor)
    item = run["result"]["images"][0]
    file = Image.open(io.BytesIO((await sandbox.http.get(item["url"])).content))
    assert (item["width"], item["height"]) == file.size == (90 * int(factor), 60 * int(factor))


async def test_too_large_an_enlargement_fails_the_run(sandbox: Client) -> None:
    """As the real provider's own example of a failure."""
    run = await sandbox.finish("Upscale Photo", photo=encode(Image.new("RGB", (2000, 1300))), factor="4")
    assert (run["status"], run["result"]) == ("failed", None)
    assert run["error_message"] == "Node 'image-upscaler' failed: the result would have more than 40 megapixels"


async def test_variations_are_as_many_as_asked_and_all_different(sandbox: Client) -> None:
    """And none is the plain picture of the same prompt."""
    made = await sandbox.make_pictures("Variations on a Theme", prompt="hills", count=3)
    (plain,) = await sandbox.make_pictures("Text to Picture", prompt="hills")
    assert len(made) == 3
    assert all(first.tobytes() != second.tobytes() for first, second in combinations([*made, plain], 2))


async def test_a_picture_depends_on_its_prompt_alone(sandbox: Client) -> None:
    """The same words again give the same file."""
    ((first,), (again,), (other,)) = [
        await sandbox.make_pictures("Text to Picture", prompt=prompt) for prompt in ("hills", "hills", "sea")
    ]
    assert first.tobytes() == again.tobytes() != other.tobytes()


async def test_half_of_the_product_shots_come_with_an_error(sandbox: Client, photo: str) -> None:
    """A partial result has outputs and a message."""
    run = await sandbox.finish("Product Shots, Half of Them", photo=photo)
    assert (run["status"], len(run["result"]["images"])) == ("completed_with_errors", 1)
    assert run["error_message"] == "Node 'relight' failed: the lamp went out"


async def test_a_clip_comes_with_a_jingle(sandbox: Client) -> None:
    """A video and a sound, with their seconds."""
    result = (await sandbox.finish("Clip and Jingle", mood="merry"))["result"]
    clip = await sandbox.http.get(result["videos"][0]["url"])
    jingle = await sandbox.http.get(result["audios"][0]["url"])
    assert (clip.headers["content-type"], clip.content[4:8], result["videos"][0]["duration"]) == (
        "video/mp4",
        b"ftyp",
        3,
    )
    with wave.open(io.BytesIO(jingle.content)) as tune:
        assert tune.getnframes() / tune.getframerate() == pytest.approx(result["audios"][0]["duration"])


async def test_the_app_that_fails_fails(sandbox: Client) -> None:
    """With the contract's own example of a message."""
    run = await sandbox.finish("Always Fails")
    assert (run["status"], run["result"]) == ("failed", None)
    assert run["error_message"] == "Node 'image-upscaler' failed: input image exceeds maximum resolution"


@pytest.mark.parametrize(("inputs", "count"), [({}, 1), ({"scenes": []}, 1), ({"scenes": ["a", "b", "c"]}, 3)])
async def test_a_storyboard_has_a_frame_for_each_scene(
    sandbox: Client, inputs: dict[str, list[str]], count: int
) -> None:
    """Without scenes the premise is the only one."""
    run = await sandbox.finish("My Storyboard", premise="a fox", **inputs)
    assert len(run["result"]["images"]) == count


async def test_a_slow_still_takes_no_longer_than_the_speed_says(sandbox: Client) -> None:
    """At speed 0 only the work itself takes time."""
    (still,) = await sandbox.make_pictures("Slow Cinema Still", prompt="desert")
    assert still.size == (1280, 720)


def test_no_recipe_works_without_its_inputs() -> None:
    """Each asks for its inputs or fails by itself."""
    for app in APPS:
        with pytest.raises((KeyError, StepFailed)):
            produce(app.recipe, {})
