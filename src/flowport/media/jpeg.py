"""The markers of a JPEG, read without its pixels, and the completion of a JPEG in which only the end mark is missing.

Source: ISO/IEC 10918-1, B.1 and B.2.
"""

# ruff: noqa: PLC0415 - Pillow is loaded when the first picture is read, for a quick start

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from flowport.media.containers import MAX_STEPS, Span, View, count_file_bytes, read_at

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
    """Tell whether the pixels are followed by an end mark, without decoding them."""
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
    """Tell whether all pixels are there: then it makes no difference what follows them."""
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
    """Tell whether the scans of a progressive JPEG have refined every component to its last bit."""
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
    """Tell whether all components of a JPEG come together; False where that is unknown."""
    file = getattr(image, "fp", None)
    if image.info.get("progressive") or file is None:
        return False
    place = file.tell()
    scan = find_scan(file)
    file.seek(place)
    return scan is not None and scan.has_all_components
