"""Open pictures of unknown origin with Pillow: what reaches the decoder, and the limits of memory and pixels for all of them.

Of a PNG the decoder gets what belongs to the picture: programs put megabytes of text into PNGs, which it would hold or
refuse. Compressed notes are unpacked to be counted, never kept. Of a JPEG it gets the first picture, completed where only
its end mark is missing. Nothing is decoded here that was not asked for.

Sources: the PNG specification (third edition), chunks; for JPEG ISO/IEC 10918-1, B.1 and B.2.
"""

# ruff: noqa: PLC0415 - Pillow is loaded when the first picture is read, for a quick start

import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from flowport.media.containers import MAX_STEPS, Part, Span, View, count_file_bytes, read_at, walk_png
from flowport.media.formats import FORMATS

if TYPE_CHECKING:
    from PIL import Image

_END: Final = b"\xff\xd9"
_START_OF_SCAN: Final = 0xDA
_SCAN_MARK: Final = bytes([0xFF, _START_OF_SCAN])
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""
_PIECE_BYTES: Final = 1024**2
_TAIL_BYTES: Final = 256 * 1024
"""Where an end mark is expected; behind it cameras put second pictures and notes."""
_NOISE: Final = (
    b"".join(bytes(n * 89 % 251 for n in range(256)) + bytes([0xFF, 0xD0 + n % 8]) for n in range(64)) + _END
)
"""Random pixels with restart marks: they show in a picture whose own pixels are not all there."""
_MAX_FINE_PIXELS: Final = 60_000_000
"""Of a picture whose details are compared, and not just its colours."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The first scan of a JPEG."""

    start: int
    """Where its header begins, behind the marker."""
    end: int
    """Where its pixels begin."""
    components: int
    frame_components: int
    """Of the whole picture."""
    is_progressive: bool

    @property
    def has_all_components(self) -> bool:
        """Whether all colours come together, so that the decoder keeps nothing."""
        return not self.is_progressive and self.components == self.frame_components


def find_scan(file: BinaryIO) -> Scan | None:
    """Return the first scan, or None when none can be found."""
    place, frame_components, is_progressive = 2, 0, False
    for _ in range(MAX_STEPS):
        header = read_at(file, place, 10)
        if len(header) < 4 or header[0] != 0xFF:  # noqa: PLR2004 - a marker and a length
            return None
        marker = header[1]
        if marker == 0xFF or marker in _ALONE:  # noqa: PLR2004 - fill
            place += 1 if marker == 0xFF else 2  # noqa: PLR2004
            continue
        length = int.from_bytes(header[2:4], "big")
        if marker in _FRAMES:
            frame_components, is_progressive = header[9] if len(header) > 9 else 0, marker in _PROGRESSIVE  # noqa: PLR2004
        if marker == _START_OF_SCAN:
            return Scan(place + 2, place + 2 + length, header[4] if header[4:] else 0, frame_components, is_progressive)
        place += 2 + length
    return None


def has_end_mark(file: BinaryIO) -> bool:
    """Check whether the pixels are followed by an end mark, without decoding them."""
    scan = find_scan(file)
    return scan is not None and _find_mark(file, _END, scan.end, count_file_bytes(file)) >= 0


def _find_mark(file: BinaryIO, mark: bytes, place: int, end: int) -> int:
    """Return where the first such mark begins, or -1."""
    last = b""
    while place < end and (piece := read_at(file, place, min(_PIECE_BYTES, end - place))):
        if (found := (last + piece).find(mark)) >= 0:
            return place + found - len(last)
        place, last = place + len(piece), piece[-1:]
    return -1


def view_jpeg(file: BinaryIO) -> BinaryIO | View:
    """Return the JPEG itself, or, of one that lacks nothing but its end mark, the JPEG with it."""
    scan, end = find_scan(file), count_file_bytes(file)
    file.seek(0)
    if scan is None or _END in read_at(file, max(scan.end, end - _TAIL_BYTES), _TAIL_BYTES):
        file.seek(0)
        return file
    # Half an end mark may be there.
    kept = end - len(tail := read_at(file, max(0, end - 8), 8)) + len(tail.rstrip(b"\xff"))
    if not _has_all_scans(file, scan, kept):
        file.seek(0)
        return file
    return View(file, [Span(0, kept), _END])


def _has_all_scans(file: BinaryIO, scan: Scan, end: int) -> bool:
    """Check whether all pixels are there: then it makes no difference what follows them."""
    if scan.is_progressive and not _has_last_scans(file, scan, end):
        return False
    part = Span(0, end)
    try:
        ended, noisy = (_decode_small(View(file, [part, tail])) for tail in (_END, _NOISE))
    except Exception:  # noqa: BLE001 - decoders raise what they like on a hostile file
        return False
    return ended == noisy


def _decode_small(file: View) -> bytes:
    from PIL import JpegImagePlugin

    with JpegImagePlugin.JpegImageFile(cast("BinaryIO", file)) as image:
        step = 2 if image.width * image.height <= _MAX_FINE_PIXELS else 8
        image.draft(None, (max(1, image.width // step), max(1, image.height // step)))
        return image.tobytes()


def _has_last_scans(file: BinaryIO, first: Scan, end: int) -> bool:
    """Check whether the scans of a progressive JPEG have refined every component to its last bit."""
    fine: dict[int, set[str]] = {}
    place = first.start
    while place > 1:
        header = read_at(file, place, 16)
        count = header[2] if len(header) > 2 else 0  # noqa: PLR2004 - behind the length
        settings = header[3 + 2 * count : 6 + 2 * count]
        if len(settings) == 3 and settings[2] & 15 == 0:  # noqa: PLR2004
            for n in range(count):
                bands = fine.setdefault(header[3 + 2 * n], set())
                bands |= {"first"} if settings[0] == 0 else set()
                bands |= {"last"} if settings[1] == 63 else set()  # noqa: PLR2004
        place = 2 + _find_mark(file, _SCAN_MARK, place, end)
    return len(fine) >= first.frame_components and all(bands == {"first", "last"} for bands in fine.values())


def has_one_scan(image: "Image.Image") -> bool:
    """Check whether all components of a JPEG come together; False where that is unknown."""
    file = getattr(image, "fp", None)
    if image.info.get("progressive") or file is None:
        return False
    place = file.tell()
    scan = find_scan(file)
    file.seek(place)
    return scan is not None and scan.has_all_components


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
    """Make glibc return large freed blocks to the system from the first call on; say whether the C library can do so.

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
    """Check whether a picture is grey of more than eight bits with a known black and white."""
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
