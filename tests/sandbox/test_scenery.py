"""The drawn landscapes."""

import pytest
from PIL import ImageStat

from flowport.sandbox import pictures

TEXTS = [f"text {n}" for n in range(24)]
SMALL = (96, 64)


@pytest.mark.parametrize("shape", sorted(pictures.SHAPES))
def test_a_landscape_has_the_wanted_size(shape: str) -> None:
    """In each of the shapes."""
    assert pictures.draw_landscape("hills", pictures.SHAPES[shape]).size == pictures.SHAPES[shape]


def test_the_same_text_gives_the_same_picture() -> None:
    """Also in another process: nothing but the text's hash decides."""
    first, second = (pictures.draw_landscape("hills", SMALL).tobytes() for _ in range(2))
    assert first == second


def test_every_text_has_a_picture_of_its_own() -> None:
    """No two of many look the same, and none is a plain surface."""
    drawn = [pictures.draw_landscape(text, SMALL) for text in TEXTS]
    assert len({picture.tobytes() for picture in drawn}) == len(TEXTS)
    assert min(max(ImageStat.Stat(picture).stddev) for picture in drawn) > 12


def test_a_cinema_still_lies_between_black_bars() -> None:
    """As films do on other screens."""
    still = pictures.draw_cinema_still("desert")
    assert (still.size, still.getpixel((640, 20))) == ((1280, 720), (0, 0, 0))
    assert still.getpixel((640, 200)) != (0, 0, 0)


def test_a_storyboard_frame_depends_on_story_and_scene() -> None:
    """Two stories with the same scene are drawn differently."""
    frames = [pictures.draw_storyboard_frame(*words) for words in (("a", 1, "b"), ("a", 1, "c"), ("d", 1, "b"))]
    assert len({frame.tobytes() for frame in frames}) == 3
