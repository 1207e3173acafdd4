"""The filters, on pixels."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from flowport.sandbox import pictures
from tests.fakes.client import build_photo, write


def measure_difference(first: Image.Image, second: Image.Image) -> float:
    """Measure by how much two pictures differ on average, 0 to 255."""
    second = second.resize(first.size).convert("RGB")
    return float(sum(ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second)).mean) / 3)


def test_an_upscaled_photo_is_the_photo_but_larger() -> None:
    """Twice the edge, nearly the same when reduced again."""
    photo = build_photo()
    large = pictures.upscale(photo, 2, 0)
    assert large.size == (180, 120)
    assert measure_difference(photo, large) < 3


def test_sharpness_sharpens() -> None:
    """The edges of the disc become steeper."""
    photo = build_photo()
    assert measure_difference(pictures.upscale(photo, 2, 0), pictures.upscale(photo, 2, 2)) > 0.1


def test_a_sketch_is_mostly_paper_with_some_dark_lines() -> None:
    """It is grey, light on the whole, and dark where the photo has an edge."""
    drawn = pictures.sketch(build_photo(300, 200), 1).convert("L")
    low, high = drawn.getextrema()
    assert isinstance(low, int)
    assert isinstance(high, int)
    assert (low < 150, high > 240) == (True, True)
    assert ImageStat.Stat(drawn).mean[0] > 150


def test_a_stronger_line_is_darker() -> None:
    """That is what the input is for."""
    light, dark = (pictures.sketch(build_photo(), strength).convert("L") for strength in (0.5, 2))
    assert ImageStat.Stat(dark).mean[0] < ImageStat.Stat(light).mean[0]


@pytest.mark.parametrize("palette", sorted(pictures.PALETTES))
def test_a_poster_has_its_palettes_colours_and_a_title(palette: str) -> None:
    """Flat tones: five colours make up most of the sheet."""
    poster = pictures.poster(build_photo(), "Hello", palette)
    colours = poster.getcolors(poster.width * poster.height) or []
    flat = sum(count for count, colour in colours if colour in pictures.PALETTES[palette])
    assert poster.size == pictures.POSTER_SIZE
    assert flat / (poster.width * poster.height) > 0.8


def test_another_title_changes_the_foot_of_the_poster_alone() -> None:
    """The words are really drawn."""
    first, second = (pictures.poster(build_photo(), title, "berry") for title in ("One", "Two words"))
    changed = ImageChops.difference(first, second).getbbox()
    assert changed is not None
    assert changed[1] > 900


@pytest.mark.parametrize("title", ["a" * 400, "word " * 80, "\u6f22\u5b57 \U0001f600", " \n\t x"])
def test_any_title_can_be_drawn(title: str) -> None:
    """Long, wordless, or in letters that the font does not have."""
    assert pictures.poster(build_photo(), title, "forest").size == pictures.POSTER_SIZE


def test_a_product_shot_has_the_photo_in_its_middle() -> None:
    """Before a backdrop that is not the photo."""
    shot = pictures.product_shot(Image.new("RGB", (50, 50), "red"))
    assert (shot.size, shot.getpixel((500, 490))) == ((1000, 1000), (255, 0, 0))
    assert shot.getpixel((10, 10)) != (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_the_strangest_shapes_can_be_processed(size: tuple[int, int]) -> None:
    """A picture may be one pixel wide."""
    photo = pictures.decode_photo(write(Image.new("RGB", size, "teal")))
    for made in (pictures.sketch(photo, 1), pictures.poster(photo, "x", "berry"), pictures.product_shot(photo)):
        assert min(made.size) > 0
    assert pictures.upscale(photo, 4, 0.5).size == (size[0] * 4, size[1] * 4)


def test_transparency_becomes_white() -> None:
    """Otherwise cut-out pictures would come with black around them."""
    assert pictures.decode_photo(write(Image.new("RGBA", (2, 2), (9, 9, 9, 0)))).getpixel((0, 0)) == (255, 255, 255)


def test_a_photo_is_turned_upright() -> None:
    """Telephones store the turn beside the pixels."""
    photo, buffer = Image.new("RGB", (40, 20)), io.BytesIO()
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(buffer, "JPEG", exif=exif)
    assert pictures.decode_photo(buffer.getvalue()).size == (20, 40)


def get_mode(content: bytes) -> str:
    """Return the mode of the decoded picture, or that it was refused."""
    try:
        return pictures.decode_photo(content).mode
    except pictures.UndecodableError:
        return "refused"


# Pillow warns of what it can do without, such as an unreadable tag.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=200, deadline=None, database=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]), st.data())
def test_damaged_pictures_are_decoded_or_refused(kind: str, data: st.DataObject) -> None:
    """Whatever a decoder makes of damage, only one kind of error comes out."""
    content = bytearray(write(build_photo(24, 16), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert get_mode(bytes(content)) in {"RGB", "refused"}
