"""Pictures opened for this process: strangers' files, with the limits of memory and pixels that hold for all of them.

Of a PNG the decoder gets what belongs to the picture; of a JPEG the first picture, whole although its end mark may be
missing; of a TIFF the page that is the picture. Nothing is decoded here that was not asked for.
"""


# ruff: noqa: PLC0415 - Pillow is loaded when the first picture is looked at, for a quick start

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from flowport.media.file_parts import Measures, build_measures, read_at
from flowport.media.jpeg import view_jpeg
from flowport.media.png import view_png
from flowport.media.tracks import Box, Movie
from flowport.runtime.memory import give_large_blocks_back

if TYPE_CHECKING:
    from types import ModuleType

    from PIL import Image

MAX_PIXELS: Final = 80_000_000
"""Of any picture but a JPEG, so that its decoding ends within a few seconds."""

MAX_JPEG_PIXELS: Final = 256_000_000
"""Phones write JPEGs of 200 million pixels, and their decoder makes them smaller as it reads."""

_MAX_PNG_TEXT_BYTES: Final = 4 * 1024**2
_MAX_PNG_CHUNK_BYTES: Final = 2 * 1024**2
_JPEG: Final = b"\xff\xd8\xff"
_PNG: Final = b"\x89PNG"
_WHOLE_BITS: Final = 16
_ORIENTATION: Final = 0x0112
_TURNS: Final = frozenset(range(2, 9))
SIDEWAYS: Final = frozenset(range(5, 9))
"""Orientations in which width and height change places."""


@cache
def load_pillow() -> "ModuleType":
    """Return `PIL.Image`, made ready for strangers' files."""
    from PIL import Image, PngImagePlugin

    # What is left of the notes in a PNG may otherwise unpack to 64 MB beside the picture.
    PngImagePlugin.MAX_TEXT_MEMORY = _MAX_PNG_TEXT_BYTES
    # A profile unpacks up to the limit of `png`, and a note may be somewhat larger.
    PngImagePlugin.MAX_TEXT_CHUNK = _MAX_PNG_CHUNK_BYTES
    # Pixels are counted here, by format, and told in a sentence; above twice as many Pillow gives up by itself.
    Image.MAX_IMAGE_PIXELS = MAX_JPEG_PIXELS
    give_large_blocks_back()
    return Image


def get_max_pixels(image: "Image.Image") -> int:
    """Return how many pixels a picture of this format may have."""
    return MAX_JPEG_PIXELS if image.format == "JPEG" else MAX_PIXELS


@contextmanager
def open_picture(file: BinaryIO, formats: tuple[str, ...], *, is_decoded: bool = True) -> "Iterator[Image.Image]":
    """Give the picture of a file with its header read, if it has one of these formats. It raises whatever a decoder raises.

    Args:
        file: Stays open.
        formats: In Pillow's words.
        is_decoded: Whether more than the header is wanted, so that a missing end mark must be replaced.
    """
    pillow, start = load_pillow(), read_at(file, 0, 4)
    file.seek(0)
    if start.startswith(_JPEG) and "JPEG" in formats:
        from PIL import JpegImagePlugin

        # Not through Pillow's list: there a JPEG with a second picture behind it becomes another format.
        with JpegImagePlugin.JpegImageFile(cast("BinaryIO", view_jpeg(file) if is_decoded else file)) as image:
            yield image
        return
    source = view_png(file) if start == _PNG else file
    with pillow.open(source, formats=formats) as image:
        yield image


def get_orientation(image: "Image.Image") -> int:
    """Return how a picture is turned where it is shown, in EXIF's numbers; 1 for upright."""
    from PIL import Image

    # A PNG's own way decodes it first, to look for a note behind the pixels.
    notes = Image.Image.getexif(image) if image.format == "PNG" else image.getexif()
    orientation = notes.get(_ORIENTATION, 1)
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1


def is_deep_grey(image: "Image.Image") -> bool:
    """Tell whether a picture is grey of more than eight bits that can be told apart from black to white."""
    return image.mode.startswith("I;16")


def flatten_grey(image: "Image.Image") -> "Image.Image":
    """Return a deep grey picture in eight bits, in which black and white stay what they are."""
    from PIL import Image, ImageChops

    tags = getattr(image, "tag_v2", {})
    bits, is_inverted = _WHOLE_BITS, False
    if image.format == "TIFF":
        bits, is_inverted = tags.get(258, (_WHOLE_BITS,))[0], tags.get(262) == 0
    image.load()
    raw = image.tobytes()
    low_half, high_half = (raw[1::2], raw[::2]) if image.mode == "I;16B" else (raw[::2], raw[1::2])
    grey = Image.frombytes("L", image.size, high_half)
    if (shift := bits - 8) < 8:  # noqa: PLR2004 - scanners' twelve bits lie at the lower end of the sixteen
        low = Image.frombytes("L", image.size, low_half).point([n >> shift for n in range(256)])
        grey = ImageChops.add(grey.point([n << (8 - shift) & 255 for n in range(256)]), low)
    if is_inverted:
        grey = ImageChops.invert(grey)
    return grey


_MAX_BYTES = 256 * 1024
_IS_LONG = 1
"""The flag of an `ipma` whose indexes take two bytes."""
_CLEAN_APERTURE_BYTES = 16


def measure_heif(file: BinaryIO) -> Measures:
    """Return how large the picture is shown; nothing where its boxes do not tell."""
    movie = Movie(file)
    for meta in movie.find_all(movie.whole, b"meta"):
        inside = movie.skip(meta, 4)
        item = next((_parse_item(movie.read(box, 8)) for box in movie.find_all(inside, b"pitm")), None)
        properties = [box for holder in movie.find_all(inside, b"iprp", b"ipco") for box in movie.iterate(holder)]
        links = [
            link
            for box in movie.find_all(inside, b"iprp", b"ipma")
            for link in _iterate_links(movie.read(box, _MAX_BYTES))
        ]
        own = [properties[index - 1] for owner, index in links if owner == item and 0 < index <= len(properties)]
        return _measure(movie, own)
    return build_measures()


def _measure(movie: Movie, properties: list[Box]) -> Measures:
    width, height = 0.0, 0.0
    for box in properties:
        data = movie.read(box, 20)
        if box.name == b"ispe":
            width, height = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
        elif box.name == b"clap" and len(data) >= _CLEAN_APERTURE_BYTES:
            numbers = [int.from_bytes(data[start : start + 4], "big") for start in range(0, 16, 4)]
            width, height = (numbers[n] // numbers[n + 1] if numbers[n + 1] else 0 for n in (0, 2))
        elif box.name == b"irot" and data and data[0] & 1:
            width, height = height, width
    return build_measures(size=(width, height))


def _parse_item(data: bytes) -> int:
    return int.from_bytes(data[4:8] if data[:1] != b"\0" else data[4:6], "big")


def _iterate_links(data: bytes) -> Iterator[tuple[int, int]]:
    """Give each item with the place of a property that holds for it, from 1."""
    if len(data) < 8:  # noqa: PLR2004 - version, flags and a count
        return
    id_bytes, index_bytes = 2 if data[0] == 0 else 4, 2 if data[3] & _IS_LONG else 1
    place = 8
    for _ in range(int.from_bytes(data[4:8], "big")):
        if place + id_bytes >= len(data):
            return
        item, count = int.from_bytes(data[place : place + id_bytes], "big"), data[place + id_bytes]
        place += id_bytes + 1
        for start in range(place, place + count * index_bytes, index_bytes):
            # The highest bit says whether a reader must understand it.
            index = int.from_bytes(data[start : start + index_bytes], "big") & (0x7FFF if index_bytes == 2 else 0x7F)  # noqa: PLR2004
            yield item, index
        place += count * index_bytes
