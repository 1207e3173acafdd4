"""Open pictures of unknown origin with Pillow: what reaches the decoder, and the limits of memory and pixels for all of them.

Of a PNG the decoder gets what belongs to the picture: programs put megabytes of text into PNGs, which it would hold or
refuse. Compressed notes are unpacked to be counted, never kept. Of a JPEG it gets the first picture, completed where only
its end mark is missing. Nothing is decoded here that was not asked for.

Source: the PNG specification (third edition), chunks.
"""

# ruff: noqa: PLC0415 - Pillow is loaded when the first picture is read, for a quick start

import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from flowport.media.containers import Part, Span, View, read_at, walk_png
from flowport.media.formats import FORMATS
from flowport.media.jpeg import has_one_scan, view_jpeg

if TYPE_CHECKING:
    from types import ModuleType

    from PIL import Image

MAX_PIXELS: Final = 80_000_000
"""Of any picture but a JPEG, so that its decoding ends within a few seconds."""

MAX_JPEG_PIXELS: Final = 256_000_000
"""Phones write JPEGs of 200 million pixels, and their decoder makes them smaller as it reads."""

MAX_PREVIEW_MEMORY_BYTES: Final = 100 * 1024**2
"""What decoding and reducing one picture for a preview may take, beyond Pillow itself."""

MAX_CONVERSION_MEMORY_BYTES: Final = 800 * 1024**2
"""What decoding and converting one picture may take. Pictures of today's cameras go through in every format."""

SHOWN_DECODERS: Final = tuple(one.decoder for one in FORMATS.values() if one.is_shown)
SIDEWAYS: Final = frozenset(range(5, 9))
"""Orientations in which width and height are swapped."""

_JPEG: Final = b"\xff\xd8\xff"
_PNG: Final = b"\x89PNG"
_ORIENTATION: Final = 0x0112
_TURNS: Final = frozenset(range(2, 9))
_WHOLE_BITS: Final = 16


_LARGE_BLOCK_BYTES: Final = 1024**2
"""Blocks from this size on are given back to the system as soon as they are free."""

_M_MMAP_THRESHOLD: Final = -3  # mallopt(3)


@cache
def trim_after_large_image() -> bool:
    """Make glibc return large freed blocks to the system from the first call on; tell whether the C library can do so.

    It raises its limit for that with every large block that is freed, up to 32 MB: after the first picture the memory of
    the next ones would stay with the process, in addition to whatever is large next.
    """
    if sys.platform != "linux":
        return False
    import ctypes  # it would take two milliseconds of every start

    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    return set_option is not None and set_option(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES) == 1


@cache
def load_pillow() -> "ModuleType":
    """Return `PIL.Image`, with limits for files of unknown origin."""
    from PIL import Image, PngImagePlugin

    # The notes that are left in a PNG may otherwise unpack to 64 MB beside the picture.
    PngImagePlugin.MAX_TEXT_MEMORY = 4 * 1024**2
    # A profile unpacks up to `MAX_PROFILE_BYTES`, and a note may be somewhat larger.
    PngImagePlugin.MAX_TEXT_CHUNK = 2 * 1024**2
    # Pixels are counted here, by format, and reported in a sentence; above twice as many Pillow refuses by itself.
    Image.MAX_IMAGE_PIXELS = MAX_JPEG_PIXELS
    trim_after_large_image()
    return Image


def get_max_pixels(image: "Image.Image") -> int:
    """Return how many pixels a picture of this format may have."""
    return MAX_JPEG_PIXELS if image.format == "JPEG" else MAX_PIXELS


def estimate_memory(
    image: "Image.Image", reduction: int, pixel_bytes: int, whole_file_pixel_bytes: Mapping[str, int]
) -> int:
    """Return how many bytes decoding takes at the worst moment, by the header alone.

    Args:
        reduction: By how much a JPEG's decoder makes each side smaller as it reads.
        pixel_bytes: What is kept of each pixel.
        whole_file_pixel_bytes: The same for decoders that keep several frames, or the parts that a picture is made of.
    """
    pixels = image.width * image.height
    if image.format not in {"JPEG", "MPO"}:
        return pixels * whole_file_pixel_bytes.get(image.format or "", pixel_bytes)
    # Of a JPEG whose components come separately the decoder first keeps everything.
    kept = 0 if has_one_scan(image) else pixels * 2 * len(image.getbands())
    return kept + pixels // reduction**2 * pixel_bytes


def request_reduction(image: "Image.Image", reduction: int) -> None:
    """Have a JPEG decoded smaller; no side becomes zero."""
    image.draft(None, (max(1, image.width // reduction), max(1, image.height // reduction)))


@contextmanager
def open_picture(file: BinaryIO, decoders: tuple[str, ...], *, is_decoded: bool = True) -> "Iterator[Image.Image]":
    """Give the picture of a file with its header read, if one of these decoders reads it. It raises whatever a decoder raises.

    Args:
        file: Stays open.
        decoders: Pillow's names.
        is_decoded: Whether more than the header is needed, so that a missing end mark must be replaced.
    """
    pillow, start = load_pillow(), read_at(file, 0, 4)
    file.seek(0)
    if start.startswith(_JPEG) and "JPEG" in decoders:
        from PIL import JpegImagePlugin

        # Not through Pillow's list: there a JPEG with a second picture behind it becomes another format.
        with JpegImagePlugin.JpegImageFile(cast("BinaryIO", view_jpeg(file) if is_decoded else file)) as image:
            yield image
        return
    source = _view_png(file) if start == _PNG else file
    with pillow.open(source, formats=decoders) as image:
        yield image


def get_orientation(image: "Image.Image") -> int:
    """Return how a picture is turned where it is shown, in EXIF's numbers; 1 for upright."""
    from PIL import Image

    # Pillow's own way for a PNG decodes it first, to find a note behind the pixels.
    notes = Image.Image.getexif(image) if image.format == "PNG" else image.getexif()
    orientation = notes.get(_ORIENTATION, 1)
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1


def is_deep_grey(image: "Image.Image") -> bool:
    """Tell whether a picture is grey of more than eight bits with a known black and white."""
    return image.mode.startswith("I;16")


def flatten_grey(image: "Image.Image") -> "Image.Image":
    """Return a deep grey picture in eight bits, in which black and white stay what they are."""
    from PIL import Image, ImageChops

    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    bits, is_inverted = tags.get(258, (_WHOLE_BITS,))[0], tags.get(262) == 0
    image.load()
    raw = image.tobytes()
    low_half, high_half = (raw[1::2], raw[::2]) if image.mode == "I;16B" else (raw[::2], raw[1::2])
    grey = Image.frombytes("L", image.size, high_half)
    if (shift := bits - 8) < 8:  # noqa: PLR2004 - scanners' twelve bits are the lower ones of the sixteen
        low = Image.frombytes("L", image.size, low_half).point([n >> shift for n in range(256)])
        grey = ImageChops.add(grey.point([n << (8 - shift) & 255 for n in range(256)]), low)
    return ImageChops.invert(grey) if is_inverted else grey


MAX_PROFILE_BYTES: Final = 1_000_000
"""Of a colour profile; readers unpack up to 1 MB."""

_MAX_NOTE_BYTES: Final = 1024**2
"""Of a note that reaches the decoder."""
_MAX_UNPACKED_BYTES: Final = 32 * 1024**2
"""Of all compressed notes: no program writes more, and a bomb unpacks to any number."""
_SIGNATURE_BYTES: Final = 8
_PACKED: Final = frozenset({b"iCCP", b"zTXt", b"iTXt"})
_COLOURS: Final = frozenset(
    {b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"pHYs", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
)
_ORIENTATION_NOTE: Final = b"XML:com.adobe.xmp\0\0\0"
_IS_SMALL: Final = 0x20
"""The bit of a letter that is small: a first small letter marks what a decoder may ignore."""


def _view_png(file: BinaryIO) -> View:
    """Return the PNG as its decoder gets it.

    Raises:
        ValueError: Its notes unpack to more than any program writes, or it has too many chunks.
    """
    chunks = walk_png(file)
    pieces = [Span(0, _SIGNATURE_BYTES)]
    unpacked_bytes = 0
    for part in chunks.iterate(Part(b"", _SIGNATURE_BYTES, chunks.whole.end)):
        note = chunks.read(part, _MAX_UNPACKED_BYTES) if part.name in _PACKED else b""
        unpacked = _count_unpacked(note, part.name, _MAX_UNPACKED_BYTES - unpacked_bytes)
        unpacked_bytes += unpacked
        if unpacked_bytes > _MAX_UNPACKED_BYTES:
            raise ValueError("the notes of this PNG unpack to too much")
        length = part.end - part.start + part.missing_bytes
        if unpacked <= MAX_PROFILE_BYTES and _is_kept(part.name, length, note):
            pieces.append(Span(part.start - 8, length + 12))
        if part.name == b"IEND":
            break
    if not chunks.steps_left:
        raise ValueError("this PNG has too many chunks")
    return View(file, pieces)


def _is_kept(name: bytes, length: int, note: bytes) -> bool:
    if not name[0] & _IS_SMALL:
        return True
    if name == b"iTXt":
        return length <= _MAX_NOTE_BYTES and note.startswith(_ORIENTATION_NOTE)
    return name in _COLOURS and (length <= _MAX_NOTE_BYTES or name == b"fdAT")


def _count_unpacked(data: bytes, name: bytes, limit: int) -> int:
    """Return how many bytes a compressed note unpacks to, up to somewhat more than the limit; 0 for any other."""
    keyword_bytes = data.find(b"\0") + 1
    start = keyword_bytes + 1  # behind the method
    if name == b"iTXt":
        if data[keyword_bytes : keyword_bytes + 1] != b"\1":
            return 0
        # A language and a translated keyword stand before the text.
        start = data.find(b"\0", data.find(b"\0", keyword_bytes + 2) + 1) + 1
    unpacker, rest, count = zlib.decompressobj(), data[start:], 0
    try:
        while rest and count <= limit:
            unpacked = unpacker.decompress(rest, 65_536)
            rest = unpacker.unconsumed_tail
            count += len(unpacked)
            if not unpacked and not rest:
                break
    except zlib.error:
        pass  # the decoder ignores a broken note
    return count
